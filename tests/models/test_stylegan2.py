"""StyleGAN2 against the authors' networks, the published numbers and closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gan_lab.models.conditioning import (
    AuxiliaryClassifier,
    ConcatenatedLatents,
    ConditionalNorms,
    DiscriminatorCondition,
    EmbeddedLatents,
    GeneratorCondition,
    Projection,
)
from gan_lab.models.equalized import MinibatchStdDev
from gan_lab.models.latents import MixedLatents
from gan_lab.models.published.stylegan2 import convert, recognizes
from gan_lab.models.stylegan2 import Discriminator, Generator
from gan_lab.models.stylegan2_layers import MappingNetwork, ModulatedConv2d
from gan_lab.runtime.environment import count_parameters

REFERENCES = Path(__file__).parent / "references" / "stylegan2.pt"
CPU = torch.device("cpu")
TINY: dict[str, Any] = {"width": 6, "channel_base": 64}


@pytest.mark.parametrize(
    ("size", "options", "residual", "generator", "discriminator"),
    [
        (32, {"mapping_layers": 2}, False, 19_947_539, 20_720_641),
        (256, {"channel_base": 16384}, True, 24_767_458, 24_001_089),
        (256, {}, True, 30_034_338, 28_864_129),
        (1024, {}, True, 30_370_060, 29_012_513),
    ],
    ids=["cifar", "paper256", "f 256", "f 1024"],
)
def test_published_parameter_counts(
    size: int, options: dict[str, int], residual: bool, generator: int, discriminator: int
) -> None:
    with torch.device("meta"):
        assert count_parameters(Generator(size, 3, **options)) == generator
        base = options.get("channel_base", 32768)
        assert count_parameters(Discriminator(size, 3, channel_base=base, residual=residual)) == discriminator


@pytest.mark.parametrize("name", ["unconditional", "conditional"])
def test_outputs_equal_those_of_the_authors_networks(name: str) -> None:
    """Residual discriminator and 3 channels without labels; the plain one, two deviation maps and 1 channel with labels."""
    reference = torch.load(REFERENCES, weights_only=True)[name]
    labels = reference["labels"] if name == "conditional" else None
    _, channels, size, _ = reference["images"].shape
    generator = Generator(
        size,
        channels,
        **TINY,
        latent_size=6,
        style_size=6,
        mapping_layers=2,
        condition=GeneratorCondition() if labels is None else EmbeddedLatents(3),
    ).eval()
    discriminator = Discriminator(
        size,
        channels,
        **TINY,
        residual=labels is None,
        group=4 if labels is None else 2,
        deviation_features=1 if labels is None else 2,
        mapping_layers=3,
        condition=DiscriminatorCondition() if labels is None else Projection(3, unconditional=False),
    )
    generator.load_state_dict(convert(reference["generator"]))
    discriminator.load_state_dict(convert(reference["discriminator"]))
    with torch.no_grad():
        styles = generator.styles(reference["latents"], labels)
        truncated = generator.render(generator.truncate(styles, 0.5))
        logits = discriminator(reference["real"], labels).logits
        torch.testing.assert_close(generator.render(styles), reference["images"], rtol=0, atol=1e-5)
    torch.testing.assert_close(truncated, reference["truncated"], rtol=0, atol=1e-5)
    torch.testing.assert_close(logits, reference["logits"], rtol=0, atol=1e-5)


def test_weights_of_another_network_are_not_recognized() -> None:
    assert not recognizes({"layers.0.weight": torch.zeros(1)})


@pytest.mark.parametrize("up", [False, True])
def test_modulation_equals_a_kernel_of_norm_1_for_each_image(up: bool) -> None:
    layer = ModulatedConv2d(3, 5, 3, 4, up=up).double()
    maps, style = torch.randn(2, 3, 6, 6, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    scaled, factors = layer(maps, style)
    assert factors is not None
    kernels = layer.weight * layer.affine(style)[:, None, :, None, None]
    kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    torch.testing.assert_close(kernels.flatten(2).norm(dim=2), torch.ones(2, 5, dtype=torch.float64))
    for image, kernel, found in zip(maps, kernels, scaled * factors, strict=True):
        plain = ModulatedConv2d(3, 5, 3, 4, up=up).double()
        plain.weight, plain.demodulate = nn.Parameter(kernel), False
        nn.init.zeros_(plain.affine.weight)
        torch.testing.assert_close(found, plain(image[None], style[:1])[0][0])
    for limit in (False, True):
        weight, scales, limited = layer.modulation(style, limit)
        assert limited is not None
        whole = limited[:, :, None, None, None] * weight * scales[:, None, :, None, None]
        torch.testing.assert_close(whole, kernels, rtol=1e-6, atol=1e-6)


def test_minibatch_deviation_with_several_features() -> None:
    maps = torch.randn(4, 6, 2, 2, dtype=torch.float64)
    out = MinibatchStdDev(group=2, features=3)(maps)
    assert out.shape == (4, 9, 2, 2)
    for image in range(4):
        group = maps[[image % 2, image % 2 + 2]]
        for feature in range(3):
            share = group[:, 2 * feature : 2 * feature + 2]
            expected = (share.var(0, unbiased=False) + 1e-8).sqrt().mean()
            torch.testing.assert_close(out[image, 6 + feature], expected.expand(2, 2))


def test_the_average_of_styles_is_updated_in_training_mode_only() -> None:
    generator = Generator(8, 1, **TINY, latent_size=3, style_size=5, mapping_layers=1, average_beta=0.9).double()
    latents = torch.randn(8, 3, dtype=torch.float64)
    style = generator.styles(latents)[:, 0]
    torch.testing.assert_close(generator.style_average, 0.1 * style.mean(0))
    mixed = torch.cat([latents, torch.randn(8, 3), torch.rand(8, 1)], 1)
    generator.styles(mixed)
    torch.testing.assert_close(generator.style_average, 0.19 * style.mean(0), msg="of the first vectors alone")
    before = generator.style_average.clone()
    styles = generator.eval().styles(latents)
    assert torch.equal(before, generator.style_average)
    torch.testing.assert_close(generator.truncate(styles, 0.25), before + 0.25 * (styles - before))


def test_mixed_latents_give_the_upper_layers_the_second_style() -> None:
    generator = Generator(16, 1, **TINY, latent_size=3, style_size=5, mapping_layers=1)
    z = torch.randn(5, 3).repeat(1, 2)
    z[:, 3:] = torch.randn(5, 3)
    crossover = torch.tensor([0.0, 0.39, 0.41, 0.99, 1.0])[:, None]  # times 5 layers
    styles = generator.styles(torch.cat([z, crossover], 1))
    first, second = generator.styles(z[:, :3]), generator.styles(z[:, 3:])
    assert styles.shape == (5, 6, 5)
    for row, own in enumerate([1, 2, 3, 5, 6]):
        torch.testing.assert_close(styles[row, :own], first[row, :own])
        torch.testing.assert_close(styles[row, own:], second[row, own:])


def test_mixed_latents_are_drawn_from_the_seed() -> None:
    source = MixedLatents(4, 0.9)
    one, other = (source.sample_for_training(1000, CPU, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, other) and one.shape == (1000, 9)
    assert 60 < int((one[:, -1] == 1).sum()) < 140
    assert source.sample(2, CPU).shape == (2, 4) == MixedLatents(4, 0).sample_for_training(2, CPU, torch.Generator()).shape
    with pytest.raises(ValueError, match="mixing=2"):
        MixedLatents(4, 2)


@pytest.mark.parametrize("condition", [ConcatenatedLatents(3), ConditionalNorms(3), EmbeddedLatents(3)])
def test_every_conditioning_embeds_the_labels(condition: GeneratorCondition) -> None:
    generator = Generator(8, 1, **TINY, latent_size=3, style_size=5, mapping_layers=1, condition=condition).eval()
    condition.check(generator)
    latents = torch.zeros(2, 3)
    images = generator(latents, torch.eye(3)[:2])
    assert not torch.equal(images[0], images[1])
    with pytest.raises(ValueError, match="a conditional network needs labels"):
        generator(latents)


@pytest.mark.parametrize("condition", [DiscriminatorCondition(), Projection(3), AuxiliaryClassifier(3)])
def test_float16_resolutions_give_nearly_the_same_outputs(condition: DiscriminatorCondition) -> None:
    """Within float16's precision; logits, images and gradients stay float32."""
    labels = torch.eye(3)
    torch.manual_seed(0)
    networks = []
    for resolutions in (0, 2):
        torch.manual_seed(0)
        options = {**TINY, "half_precision_resolutions": resolutions}
        networks.append((Generator(16, 1, **options).eval(), Discriminator(16, 1, **options, condition=condition)))
    latents = torch.randn(3, 512)
    images = [generator(latents) for generator, _ in networks]
    logits = [discriminator(images[0].detach(), labels).logits for _, discriminator in networks]
    assert images[1].dtype == logits[1].dtype == torch.float32 and not torch.equal(images[0], images[1])
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=0.02)
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0.02)
    images[1].sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in networks[1][0].parameters())


def test_activations_in_float16_are_clamped() -> None:
    generator = Generator(8, 1, **TINY, half_precision_resolutions=4, clamp=0.5)
    assert float(generator(torch.randn(4, 512)).detach().abs().max()) <= 1.0 * 2.0, "two clamped images, one of them upsampled"
    with pytest.raises(ValueError, match="half_precision_resolutions=-1"):
        Generator(8, 1, **TINY, half_precision_resolutions=-1)


def test_mapping_network_normalizes_latents() -> None:
    mapping = MappingNetwork(4, 0, 5, layers=2)
    latents = torch.randn(2, 4)
    torch.testing.assert_close(mapping(latents, None), mapping(3 * latents, None))


def test_sizes_and_options_out_of_range_are_refused() -> None:
    for wrong, message in [({"size": 36}, "size=36"), ({"size": 2048}, "size=2048"), ({"width": 0}, "width=0")]:
        with pytest.raises(ValueError, match=message):
            Generator(**{"size": 32, "channels": 1, **TINY, **wrong})
    with pytest.raises(ValueError, match="deviation_features=4: must divide the 6 channels"):
        Discriminator(16, 1, **TINY, deviation_features=4)
