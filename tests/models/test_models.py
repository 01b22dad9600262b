"""Networks against the published recipes."""

from __future__ import annotations

from types import ModuleType

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from gan_lab.models import dcgan, dcgan_cifar, progan, r3gan, sngan
from gan_lab.models.conditioning import (
    AuxiliaryClassifier,
    ConcatenatedLatents,
    ConcatenatedPlane,
    ConditionalNorm,
    ConditionalNorms,
    EmbeddedLatents,
    Projection,
)
from gan_lab.models.latents import NormalLatents
from gan_lab.models.layers import SpectralNorm, add_spectral_norm, split_size
from gan_lab.models.standing_statistics import accumulate_standing_statistics
from gan_lab.runtime.environment import count_parameters


def test_dcgan_has_the_published_parameter_counts() -> None:
    assert count_parameters(dcgan.Generator(64, 3)) == 3_576_704
    assert count_parameters(dcgan.Discriminator(64, 3)) == 2_765_568


def describe(module: nn.Module) -> str:
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


def test_dcgan_64_has_the_layers_of_the_reference_implementation() -> None:
    assert [describe(m) for m in dcgan.Generator(64, 3).layers] == [
        *("up 100>512 4-1-0", "bn 512", "relu"),
        *("up 512>256 4-2-1", "bn 256", "relu"),
        *("up 256>128 4-2-1", "bn 128", "relu"),
        *("up 128>64 4-2-1", "bn 64", "relu"),
        *("up 64>3 4-2-1", "tanh"),
    ]
    discriminator = dcgan.Discriminator(64, 3)
    assert [describe(m) for m in [*discriminator.layers, discriminator.logit]] == [
        *("down 3>64 4-2-1", "leaky 0.2"),
        *("down 64>128 4-2-1", "bn 128", "leaky 0.2"),
        *("down 128>256 4-2-1", "bn 256", "leaky 0.2"),
        *("down 256>512 4-2-1", "bn 512", "leaky 0.2"),
        "down 512>1 4-1-0",
    ]


@pytest.mark.parametrize("network", [dcgan.Generator(64, 3), dcgan.Discriminator(64, 3)])
def test_dcgan_is_initialized_as_published(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            count = module.weight.numel()
            assert module.weight.mean().abs() < 5 * 0.02 / count**0.5
            assert module.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * count) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1.0, abs=5 * 0.02 / module.num_features**0.5)
            assert (module.bias == 0).all()


FAMILIES = [dcgan, dcgan_cifar, sngan, progan, r3gan]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.rpartition(".")[2])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [28, 32, 48, 64, 96, 128, 256])
def test_any_size_and_channels(family: ModuleType, channels: int, size: int) -> None:
    generator = family.Generator(size, channels, width=2, latent_size=5)
    discriminator = family.Discriminator(size, channels, width=2)
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    output = discriminator(images)
    assert output.logits.shape == (3,) and output.logits.dtype == torch.float32
    assert len(output.features) == 3 and output.class_logits is None


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_only_with_batch_norm_an_output_depends_on_other_images(norm: str) -> None:
    torch.manual_seed(0)
    discriminator = dcgan.Discriminator(32, 1, width=4, norm=norm)
    images = torch.randn(4, 1, 32, 32)
    alone = discriminator(images[:2]).logits
    assert torch.allclose(discriminator(images).logits[:2], alone, atol=1e-6) == (norm != "batch")
    with pytest.raises(ValueError, match="norm=group: must be one of batch, layer, instance, none"):
        dcgan.Discriminator(32, 1, norm="group")


def test_dcgan_cifar_has_a_dense_first_layer_and_dropout() -> None:
    generator, discriminator = dcgan_cifar.Generator(32, 3), dcgan_cifar.Discriminator(32, 3, dropout=0.25)
    assert isinstance(generator.layers[0], nn.Linear) and generator.layers[0].out_features == 256 * 4 * 4
    assert [m.p for m in discriminator.modules() if isinstance(m, nn.Dropout)] == [0.25] * 3
    assert not any(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules())


@pytest.mark.parametrize("size", [0, 8, 30, 33, 100, 144, 512])
def test_an_impossible_size_is_refused_with_the_possible_ones(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size={size}: .* 28, 32, 40, 48, 56, 64, .* 256 pixels"):
        dcgan.Generator(size, 3)


@pytest.mark.parametrize(("size", "expected"), [(64, (4, 4)), (28, (7, 2)), (16, (4, 2)), (96, (6, 4)), (128, (4, 5))])
def test_split_size(size: int, expected: tuple[int, int]) -> None:
    assert split_size(size) == expected


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="width=0"):
        dcgan.Generator(32, 1, width=0)
    with pytest.raises(ValueError, match="dropout=1"):
        dcgan_cifar.Discriminator(32, 3, dropout=1.0)


def test_latents_are_normal_and_reproducible() -> None:
    source, cpu = NormalLatents(50), torch.device("cpu")
    a, b = (source.sample(200, cpu, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and a.shape == (200, 50)
    assert source.sample(400, cpu).std().item() == pytest.approx(1.0, abs=0.03)


def test_truncated_latents_follow_the_truncated_normal_distribution() -> None:
    latents = NormalLatents(100).sample(4000, torch.device("cpu"), torch.Generator().manual_seed(0), truncation=0.7)
    assert latents.abs().max() <= 0.7
    values = latents.flatten()[:20_000].double().numpy()
    assert scipy.stats.kstest(values, scipy.stats.truncnorm(-0.7, 0.7).cdf).pvalue > 0.01
    with pytest.raises(ValueError, match="truncation=0"):
        NormalLatents(3).sample(1, torch.device("cpu"), truncation=0.0)


# -- SNGAN -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "wide", "blocks", "expected"),
    [
        (32, {}, {}, (4_276_739, 1_053_825)),
        (64, {"width": 64, "max_width": 1024}, {"halvings": 5, "plain_blocks": 0}, (12_220_675, 10_141_441)),
        (128, {"width": 64, "max_width": 1024}, {"halvings": None, "plain_blocks": 1}, (32_150_787, 29_017_857)),
    ],
)
def test_sngan_has_the_parameter_counts_of_mimicry(
    size: int, wide: dict[str, int], blocks: dict[str, int], expected: tuple[int, int]
) -> None:
    """Counted in kwotsin/mimicry: ``SNGANGenerator32``, ``SNGANDiscriminator32`` and their 64 and 128 pixel versions."""
    networks = sngan.Generator(size, 3, **wide), sngan.Discriminator(size, 3, **wide, **blocks)  # type: ignore[arg-type]
    assert tuple(map(count_parameters, networks)) == expected


def test_sngan_with_projection_has_the_parameter_counts_of_mimicrys_cgan_pd() -> None:
    generator = sngan.Generator(32, 3, condition=ConditionalNorms(100))
    discriminator = sngan.Discriminator(32, 3, condition=Projection(100))
    assert (count_parameters(generator), count_parameters(discriminator)) == (4_580_867, 1_066_625)


@pytest.mark.parametrize("shape", [(12, 7), (12, 7, 3, 3)])
def test_spectral_norm_finds_the_largest_singular_value(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(7, 12) if len(shape) == 2 else nn.Conv2d(7, 12, 3)
    raw = layer.weight.detach().clone()
    add_spectral_norm(layer)
    for _ in range(2000):
        layer.weight  # noqa: B018 - each access is a power iteration
    expected = raw / torch.linalg.matrix_norm(raw.flatten(1), 2)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-4, atol=1e-5)
    layer.eval()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


def test_spectral_norm_has_the_same_gradient_as_pytorchs() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(7, 12), nn.Linear(7, 12)
    theirs.load_state_dict(ours.state_dict())
    add_spectral_norm(ours)
    torch.nn.utils.parametrizations.spectral_norm(theirs, n_power_iterations=1)
    for layer in (ours, theirs):
        for _ in range(200):
            layer.weight  # noqa: B018
    images = torch.randn(5, 7)
    for layer in (ours, theirs):
        layer(images).square().sum().backward()
    torch.testing.assert_close(
        ours.parametrizations.weight.original.grad, theirs.parametrizations.weight.original.grad, rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
def test_every_layer_of_an_sngan_discriminator_is_spectrally_normalized() -> None:
    discriminator = sngan.Discriminator(32, 1, width=4, max_width=4, condition=Projection(3))
    layers = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for _ in range(1000):
        weights = [layer.weight for layer in layers]
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item() == pytest.approx(1.0, abs=1e-3)
    assert len(weights) == 4 * 2 + 2 + 1 + 1  # convolutions, shortcuts that change the shape, the logit, the embedding
    assert all(
        isinstance(m.parametrizations.weight[0], SpectralNorm)
        for m in discriminator.modules()
        if hasattr(m, "parametrizations")
    )


def test_self_attention_starts_as_the_identity_and_is_softmax_attention() -> None:
    torch.manual_seed(0)
    attention = sngan.SelfAttention(16)
    maps = torch.randn(2, 16, 6, 6)
    assert torch.equal(attention(maps), maps)
    attention.gamma.data.fill_(0.5)
    q = attention.query(maps).flatten(2).transpose(1, 2)
    k, v = (nn.functional.max_pool2d(f(maps), 2).flatten(2).transpose(1, 2) for f in (attention.key, attention.value))
    expected = nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).unflatten(2, (6, 6))
    torch.testing.assert_close(attention(maps), maps + 0.5 * attention.out(expected), rtol=1e-4, atol=1e-5)


def test_attention_is_applied_to_the_requested_map_only() -> None:
    for network in (sngan.Generator(32, 3, width=8, attention=16), sngan.Discriminator(32, 3, width=8, attention=16)):
        assert sum(isinstance(m, sngan.SelfAttention) for m in network.modules()) == 1
    with pytest.raises(ValueError, match="attention=20: the maps of this network are 8, 16, 32 pixels wide"):
        sngan.Generator(32, 3, width=8, attention=20)


# -- ProGAN ----------------------------------------------------------------------------------------------------------------


def test_progan_has_the_published_parameter_counts() -> None:
    """23.1 M each at 1024x1024 (Karras et al. 2018, table 2); the exact sums follow from the table's layers."""
    assert count_parameters(progan.Generator(1024, 3)) == 23_086_795
    assert count_parameters(progan.Discriminator(1024, 3)) == 23_087_249


def small_progan(network: str, condition: object = None) -> progan.Generator | progan.Discriminator:
    torch.manual_seed(0)
    more = {} if condition is None else {"condition": condition}
    if network == "generator":
        return progan.Generator(32, 3, width=16, channel_base=128, latent_size=8, **more)  # type: ignore[arg-type]
    return progan.Discriminator(32, 3, width=16, channel_base=128, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [8, 16, 32])
def test_growing_a_generator_fades_from_the_upsampled_old_images_to_the_new_ones(size: int) -> None:
    generator, latents = small_progan("generator"), torch.randn(5, 8)
    generator.set_resolution(size // 2, 1.0)
    old = nn.functional.interpolate(generator(latents), scale_factor=2, mode="nearest")
    generator.set_resolution(size, 0.0)
    torch.testing.assert_close(generator(latents), old, rtol=0, atol=1e-6)
    generator.set_resolution(size, 1.0)
    new = generator(latents)
    assert (new - old).abs().max() > 0.01
    generator.set_resolution(size, 1.0 - 1e-9)
    torch.testing.assert_close(generator(latents), new, rtol=0, atol=1e-6)
    generator.set_resolution(size, 0.25)
    torch.testing.assert_close(generator(latents), 0.75 * old + 0.25 * new, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_growing_a_discriminator_fades_from_the_old_logits_on_downsampled_images(size: int) -> None:
    discriminator, images = small_progan("discriminator"), torch.randn(8, 3, size, size)
    downsampled = nn.functional.avg_pool2d(images, 2)
    discriminator.set_resolution(size // 2, 1.0)
    old = discriminator(downsampled).logits
    discriminator.set_resolution(size, 0.0)
    torch.testing.assert_close(discriminator(images).logits, old, rtol=0, atol=1e-6)
    discriminator.set_resolution(size, 1.0)
    new = discriminator(images).logits
    assert (new - old).abs().max() > 0.001
    discriminator.set_resolution(size, 1.0 - 1e-9)
    torch.testing.assert_close(discriminator(images).logits, new, rtol=0, atol=1e-6)


def test_unused_layers_get_no_gradient() -> None:
    generator, discriminator = small_progan("generator"), small_progan("discriminator")
    for network in (generator, discriminator):
        network.set_resolution(8, 0.5)
    discriminator(generator(torch.randn(4, 8))).logits.sum().backward()
    used = {name.split(".")[1] for name, p in generator.named_parameters() if name.startswith("to_rgb") and p.grad is not None}
    assert used == {"0", "1"}
    blocks = {
        name.split(".")[1] for name, p in discriminator.named_parameters() if name.startswith("blocks") and p.grad is not None
    }
    assert blocks == {"0"}


def test_a_state_dict_includes_the_resolution() -> None:
    generator = small_progan("generator")
    generator.set_resolution(16, 0.5)
    other = small_progan("generator")
    other.load_state_dict(generator.state_dict())
    assert (other.resolution, other.alpha) == (16, 0.5) and other(torch.randn(2, 8)).shape == (2, 3, 16, 16)


def test_equalized_layers_keep_unit_variance_and_unscaled_biases() -> None:
    torch.manual_seed(0)
    layer = progan.EqualizedConv2d(64, 64, 3, gain=1.0)
    assert layer(torch.randn(8, 64, 16, 16))[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1.0, abs=0.05)
    assert layer.weight.std().item() == pytest.approx(1.0, abs=0.02) and (layer.bias == 0).all()
    dense = progan.EqualizedLinear(256, 10)
    images = torch.randn(3, 256)
    torch.testing.assert_close(dense(images), images @ dense.weight.T * (2 / 256) ** 0.5, rtol=1e-4, atol=1e-4)


def test_pixel_norm_makes_the_mean_square_one() -> None:
    normalized = progan.PixelNorm()(7 * torch.randn(2, 32, 3, 3))
    torch.testing.assert_close(normalized.square().mean(1), torch.ones(2, 3, 3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "group"), [(8, 4), (6, 3), (5, 1), (2, 2)])
def test_the_minibatch_standard_deviation_is_that_of_groups(count: int, group: int) -> None:
    """With M groups, group m consists of the images m, m + M, m + 2M, ..., as in the authors' code."""
    maps = torch.randn(count, 7, 4, 4, dtype=torch.float64)
    out = progan.MinibatchStdDev(4)(maps)
    assert out.shape == (count, 8, 4, 4) and torch.equal(out[:, :7], maps)
    groups = count // group
    for n in range(count):
        members = maps[n % groups :: groups]
        assert len(members) == group
        expected = (members.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(out[n, 7], expected.expand(4, 4), rtol=1e-5, atol=1e-6)


# -- conditions ------------------------------------------------------------------------------------------------------------

LABELS = torch.eye(3)[torch.tensor([0, 2, 2, 1])]
ATTRIBUTES = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.rpartition(".")[2])
@pytest.mark.parametrize("labels", [LABELS, ATTRIBUTES], ids=["classes", "attributes"])
@pytest.mark.parametrize("condition", [ConcatenatedLatents, EmbeddedLatents, ConditionalNorms])
def test_every_conditional_generator_uses_the_labels(family: ModuleType, condition: type, labels: Tensor) -> None:
    torch.manual_seed(0)
    generator = family.Generator(32, 1, width=4, latent_size=5, condition=condition(3)).eval()
    for module in generator.modules():
        if isinstance(module, ConditionalNorm):
            assert (module.table == 0).all(), "starts like an unconditional network"
            nn.init.normal_(module.table)
    latents = torch.randn(1, 5).expand(4, 5)
    images = generator(latents, labels)
    same = images[:, None].sub(images[None]).abs().amax((2, 3, 4)) < 1e-6
    assert torch.equal(same, (labels[:, None] == labels[None]).all(2))
    with pytest.raises(ValueError, match=r"needs labels \[N, 3\] and was given none"):
        generator(latents)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.rpartition(".")[2])
@pytest.mark.parametrize("condition", [ConcatenatedPlane, Projection])
def test_every_conditional_discriminator_uses_the_labels(family: ModuleType, condition: type) -> None:
    torch.manual_seed(0)
    discriminator = family.Discriminator(32, 1, width=4, condition=condition(3)).eval()
    logits = discriminator(torch.randn(1, 1, 32, 32).expand(4, 1, 32, 32), LABELS).logits
    assert torch.allclose(logits[1], logits[2], atol=1e-6) and not torch.allclose(logits[0], logits[1], atol=1e-6)


def test_projection_adds_the_inner_product_of_embedding_and_features() -> None:
    torch.manual_seed(0)
    discriminator = sngan.Discriminator(32, 1, width=4, max_width=4, condition=Projection(3)).eval()
    images = torch.randn(4, 1, 32, 32)
    features = discriminator.extract_features(images)
    embedding = discriminator.head.embedding.weight.T  # [K, F]
    expected = discriminator.logit(features).flatten() + (embedding[LABELS.argmax(1)] * features.sum((2, 3))).sum(1)
    torch.testing.assert_close(discriminator(images, LABELS).logits, expected)


def test_an_auxiliary_classifier_adds_class_logits_and_keeps_the_logits() -> None:
    torch.manual_seed(0)
    plain = dcgan.Discriminator(32, 1, width=4)
    torch.manual_seed(0)
    discriminator = dcgan.Discriminator(32, 1, width=4, condition=AuxiliaryClassifier(3))
    discriminator.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(4, 1, 32, 32)
    output = discriminator(images, LABELS)
    torch.testing.assert_close(output.logits, plain(images).logits)
    assert output.class_logits.shape == (4, 3)


def test_a_conditional_norm_is_batch_norm_with_scale_and_shift_per_class() -> None:
    torch.manual_seed(0)
    layer, maps = ConditionalNorm(nn.BatchNorm2d(5, affine=False), 5, 3), torch.randn(4, 5, 6, 6)
    nn.init.normal_(layer.table)
    normalized = nn.functional.batch_norm(maps, None, None, training=True)
    for n, number in enumerate(LABELS.argmax(1)):
        scale, shift = layer.table[number].chunk(2)
        expected = normalized[n] * (1 + scale)[:, None, None] + shift[:, None, None]
        torch.testing.assert_close(layer(maps, LABELS)[n], expected, rtol=1e-4, atol=1e-5)


def test_conditional_norms_take_vectors_and_refuse_a_network_without_norms() -> None:
    layer = ConditionalNorm(nn.BatchNorm1d(5, affine=False), 5, 3)
    assert layer(torch.randn(4, 5), LABELS).shape == (4, 5)
    with pytest.raises(ValueError, match="no normalization to condition"):
        ConditionalNorms(3).check(nn.Linear(3, 3))
    ConditionalNorms(3).check(nn.Sequential(layer))


def test_standing_statistics_are_those_of_the_generated_images() -> None:
    torch.manual_seed(0)
    generator = dcgan.Generator(32, 1, width=4, latent_size=5)
    source, random = NormalLatents(5), torch.Generator().manual_seed(1)
    generator(source.sample(64, torch.device("cpu")))
    generator.eval()
    drawn: list[Tensor] = []

    def draw(count: int) -> tuple[Tensor, None]:
        drawn.append(source.sample(count, torch.device("cpu"), random, truncation=0.5))
        return drawn[-1], None

    assert accumulate_standing_statistics(generator, draw, 4, 32)
    first = generator.layers[:1](torch.cat(drawn)[:, :, None, None])
    torch.testing.assert_close(generator.layers[1].running_mean, first.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not generator.training and generator.layers[1].momentum == 0.1
    assert not accumulate_standing_statistics(small_progan("generator").eval(), lambda n: (torch.randn(n, 8), None), 2, 4)
