"""Networks against the published recipes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan_lab.models import dcgan, dcgan_cifar
from gan_lab.models.latents import NormalLatents
from gan_lab.models.layers import split_size
from gan_lab.training.summary import count_parameters


def test_dcgan_has_the_published_parameter_counts() -> None:
    assert count_parameters(dcgan.Generator(64, 3)) == 3_576_704
    assert count_parameters(dcgan.Discriminator(64, 3)) == 2_765_568


def spell(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        assert module.bias is None
        kind = "up" if isinstance(module, nn.ConvTranspose2d) else "down"
        k, s, p = module.kernel_size[0], module.stride[0], module.padding[0]
        return f"{kind} {module.in_channels}>{module.out_channels} {k}-{s}-{p}"
    if isinstance(module, nn.BatchNorm2d):
        assert (module.eps, module.momentum) == (1e-5, 0.1)
        return f"bn {module.num_features}"
    if isinstance(module, nn.LeakyReLU):
        return f"leaky {module.negative_slope}"
    return type(module).__name__.lower()


def test_dcgan_64_is_the_reference_implementation_layer_for_layer() -> None:
    assert [spell(m) for m in dcgan.Generator(64, 3).layers] == [
        *("up 100>512 4-1-0", "bn 512", "relu"),
        *("up 512>256 4-2-1", "bn 256", "relu"),
        *("up 256>128 4-2-1", "bn 128", "relu"),
        *("up 128>64 4-2-1", "bn 64", "relu"),
        *("up 64>3 4-2-1", "tanh"),
    ]
    assert [spell(m) for m in dcgan.Discriminator(64, 3).layers] == [
        *("down 3>64 4-2-1", "leaky 0.2"),
        *("down 64>128 4-2-1", "bn 128", "leaky 0.2"),
        *("down 128>256 4-2-1", "bn 256", "leaky 0.2"),
        *("down 256>512 4-2-1", "bn 512", "leaky 0.2"),
        "down 512>1 4-1-0",
    ]


@pytest.mark.parametrize("network", [dcgan.Generator(64, 3), dcgan.Discriminator(64, 3)])
def test_dcgan_starts_from_the_published_distributions(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            count = module.weight.numel()
            assert module.weight.mean().abs() < 5 * 0.02 / count**0.5
            assert module.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * count) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1.0, abs=5 * 0.02 / module.num_features**0.5)
            assert (module.bias == 0).all()


@pytest.mark.parametrize("family", [dcgan, dcgan_cifar])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [28, 32, 48, 64, 96, 128])
def test_any_size_and_channels(family: object, channels: int, size: int) -> None:
    generator = family.Generator(size, channels, width=2, latent_size=5)  # type: ignore[attr-defined]
    discriminator = family.Discriminator(size, channels, width=2)  # type: ignore[attr-defined]
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


def test_the_cifar_study_has_a_dense_start_and_dropout() -> None:
    generator, discriminator = dcgan_cifar.Generator(32, 3), dcgan_cifar.Discriminator(32, 3, dropout=0.25)
    assert isinstance(generator.layers[0], nn.Linear) and generator.layers[0].out_features == 256 * 4 * 4
    assert [m.p for m in discriminator.modules() if isinstance(m, nn.Dropout)] == [0.25] * 3
    assert not any(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules())


@pytest.mark.parametrize("size", [0, 8, 30, 33, 100, 144, 256])
def test_a_size_no_stack_of_doublings_reaches_is_refused_with_the_possible_ones(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size={size}: .* 28, 32, 40, 48, 56, 64, .* 128 pixels"):
        dcgan.Generator(size, 3)


@pytest.mark.parametrize(("size", "expected"), [(64, (4, 4)), (28, (7, 2)), (16, (4, 2)), (96, (6, 4)), (128, (4, 5))])
def test_split_size(size: int, expected: tuple[int, int]) -> None:
    assert split_size(size) == expected


def test_other_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="width=0"):
        dcgan.Generator(32, 1, width=0)
    with pytest.raises(ValueError, match="dropout=1"):
        dcgan_cifar.Discriminator(32, 3, dropout=1.0)


def test_latents_are_normal_and_follow_their_generator() -> None:
    source, cpu = NormalLatents(50), torch.device("cpu")
    a, b = (source.draw(200, cpu, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and a.shape == (200, 50)
    assert source.draw(400, cpu).std().item() == pytest.approx(1.0, abs=0.03)
