"""Augmentations compared with shifted copies, closed forms and SciPy, and their distributions over many draws."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.ndimage import map_coordinates
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils._python_dispatch import TorchDispatchMode

from gan_lab.config import CONF_DIR, instantiate
from gan_lab.data.ada import AdaptiveAugment
from gan_lab.data.augmentation import Augmentation, Augmentations, DiffAugment, InstanceNoise, full_precision

OFF: dict[str, Any] = {
    "flip": False,
    "quarter_turns": False,
    "shift": 0.0,
    "scale": 0.0,
    "rotation": 0.0,
    "stretch": 0.0,
    "translation": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "luma_flip": False,
    "hue": 0.0,
    "saturation": 0.0,
}
GEOMETRY = {
    "flip": True,
    "quarter_turns": True,
    "shift": 0.1,
    "scale": 0.2,
    "rotation": 1.0,
    "stretch": 0.2,
    "translation": 0.1,
}

EACH: dict[str, Callable[[], Augmentation]] = {
    "diffaugment": lambda: DiffAugment(["color", "translation", "cutout"]),
    "instance_noise": lambda: InstanceNoise(0.3),
    "ada": lambda: AdaptiveAugment(p=0.7),
    "chain": lambda: Augmentations(
        {"noise": InstanceNoise(0.1), "ada": AdaptiveAugment(p=1.0), "cut": DiffAugment(["cutout"])}
    ),
}
every_augmentation = pytest.mark.parametrize("name", EACH)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def only(p: float = 1.0, **strengths: Any) -> AdaptiveAugment:
    """ADA with only the given transformations."""
    return AdaptiveAugment(p=p, target=None, **(OFF | strengths))


def random_images(count: int, channels: int = 3, height: int = 8, width: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, channels, height, width, dtype=dtype) * 2 - 1


def copies(count: int, channels: int = 3, height: int = 8, width: int = 8) -> Tensor:
    """One random image, ``count`` times."""
    return random_images(1, channels, height, width).expand(count, -1, -1, -1)


def repeatable(augmentation: Augmentation, seed: int = 0) -> Callable[[Tensor], Tensor]:
    def call(images: Tensor) -> Tensor:
        torch.manual_seed(seed)
        return augmentation(images)

    return call


def fraction_equal(images: Tensor, expected: Tensor) -> float:
    """Fraction of the images that equal ``expected`` up to rounding."""
    return float((images - expected).abs().amax((1, 2, 3)).lt(1e-5).float().mean())


def is_near_probability(found: float, expected: float, count: int) -> bool:
    """Whether a fraction of ``count`` draws is within four standard deviations of the binomial distribution."""
    return abs(found - expected) <= 4 * math.sqrt(expected * (1 - expected) / count) + 1e-9


# --- all augmentations


@every_augmentation
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_output_is_float32_of_the_same_shape_also_under_autocast(name: str, channels: int, dtype: torch.dtype) -> None:
    images, augment = random_images(5, channels, 8, 6).to(dtype), repeatable(EACH[name]())
    before, expected = images.clone(), augment(images.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = augment(images)
    assert found.dtype == torch.float32 and found.shape == images.shape
    assert torch.equal(found, expected) and torch.equal(images, before)


def test_full_precision_disables_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.bfloat16
        with full_precision(torch.eye(2).half()) as matrix:
            assert (matrix @ matrix).dtype == torch.float32
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.bfloat16


@every_augmentation
def test_parameters_are_drawn_for_each_image(name: str) -> None:
    found = EACH[name]()(copies(6, height=16, width=16))
    different = [not torch.equal(found[a], found[b]) for a in range(6) for b in range(a)]
    assert sum(different) >= 14  # of 15: ADA leaves some images unchanged


@every_augmentation
@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_augmentations_are_twice_differentiable(name: str, channels: int) -> None:
    images, augment = random_images(2, channels, 4, 3, torch.float64).requires_grad_(), repeatable(EACH[name]())
    assert augment(images).dtype == torch.float64
    assert torch.autograd.gradcheck(augment, images, fast_mode=True)  # along random directions, not every axis
    assert torch.autograd.gradgradcheck(augment, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: augment(x) ** 3, images, fast_mode=True)


@every_augmentation
def test_autocast_does_not_change_a_gradient_penalty(name: str) -> None:
    augment, images = repeatable(EACH[name]()), random_images(3).requires_grad_()

    def penalty() -> tuple[Tensor, Tensor]:
        (first,) = torch.autograd.grad((augment(images) ** 3).sum(), images, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), images)
        return first, second

    expected = penalty()
    with torch.autocast("cpu", torch.bfloat16):
        found = penalty()
    assert all(f.dtype == torch.float32 and torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    assert expected[1].abs().max() > 0


@every_augmentation
def test_the_memory_format_does_not_change_the_result(name: str) -> None:
    augment, images = repeatable(EACH[name]()), random_images(4, height=8, width=6)
    torch.testing.assert_close(augment(images.contiguous(memory_format=torch.channels_last)), augment(images))


class NoSynchronization(TorchDispatchMode):
    """Fails on operations that wait for a GPU: reading a value, data-dependent shapes, copying constants from the host."""

    SYNCHRONIZING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "lift_fresh", "unique")

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in self.SYNCHRONIZING, func
        return func(*args, **(kwargs or {}))


@every_augmentation
def test_no_operation_waits_for_the_device(name: str) -> None:
    augmentation, images = EACH[name](), random_images(4).requires_grad_()
    with NoSynchronization():
        augmentation.set_progress(0.5)
        augmentation(images).square().sum().backward()
        for _ in range(5):
            logged = augmentation.observe(torch.randn(4))
    assert all(isinstance(value, Tensor) and value.dim() == 0 for value in logged.values())
    with pytest.raises(AssertionError, match="scalar"), NoSynchronization():
        images.sum().item()


# --- sequences of augmentations


def test_an_empty_sequence_returns_its_input() -> None:
    images = random_images(2).bfloat16()
    chain = Augmentations({})
    assert chain(images) is images
    assert chain.observe(torch.zeros(2)) == {}


def test_a_sequence_applies_its_members_in_order_and_passes_on_progress_and_logits() -> None:
    bright = {"brightness": (0.25, 0.25), "saturation": (1.0, 1.0), "contrast": (1.0, 1.0)}
    noise, ada = InstanceNoise(0.4), only(p=0.5)
    members: dict[str, Augmentation] = {"cutout": DiffAugment(["cutout"]), "color": DiffAugment(["color"], **bright)}
    chain = Augmentations(members | {"noise": noise, "ada": ada})
    chain.set_progress(1.0)
    ada.p.zero_()
    found = chain(torch.ones(16, 3, 8, 8))
    assert noise.sigma == 0
    assert set(found.mul(100).round().flatten().tolist()) == {25, 125}  # in the other order the cutouts would be 0
    ada.p.fill_(0.5)
    assert {name: float(value) for name, value in chain.observe(torch.ones(4)).items()} == {"ada_p": 0.5, "ada_rt": 1.0}
    assert "chain.ada.p" in chain.state_dict()


# --- DiffAugment


def test_color_equals_the_closed_form() -> None:
    images = random_images(4, dtype=torch.float64)
    fixed = DiffAugment(["color"], brightness=(0.3, 0.3), saturation=(1.7, 1.7), contrast=(0.6, 0.6))
    x = images.numpy() + 0.3
    gray = x.mean(1, keepdims=True)
    x = gray + 1.7 * (x - gray)
    mean = x.mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(fixed(images).numpy(), mean + 0.6 * (x - mean), atol=1e-12)


@pytest.mark.parametrize(
    ("changed", "over", "low", "high"),
    [("brightness", (), -0.5, 0.5), ("saturation", 1, 0, 2), ("contrast", (1, 2, 3), 0.5, 1.5)],
)
def test_each_color_parameter_is_uniform(changed: str, over: Any, low: float, high: float) -> None:
    identity = {"brightness": (0.0, 0.0), "saturation": (1.0, 1.0), "contrast": (1.0, 1.0)}
    del identity[changed]
    images = copies(4000).double()
    found = DiffAugment(["color"], **identity)(images)
    if changed == "brightness":
        draws = found - images
    else:
        mean = images.mean(over, keepdim=True)
        torch.testing.assert_close(found.mean(over, keepdim=True), mean)
        draws = (found - mean) / (images - mean)
    first = draws[:, :1, :1, :1]
    torch.testing.assert_close(draws, first.expand_as(draws), rtol=1e-6, atol=1e-9)  # one number for each image
    position = ((first.flatten() - low) / (high - low)).sort().values
    assert (position - torch.linspace(0, 1, 4000)).abs().max() < 0.03  # Kolmogorov-Smirnov: 1.95 / sqrt(4000), p = 0.001


def test_grayscale_images_have_no_saturation() -> None:
    images = random_images(16, channels=1)
    saturation = DiffAugment(["color"], brightness=(0.0, 0.0), contrast=(1.0, 1.0))
    torch.testing.assert_close(saturation(images), images)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (28, 20), (8, 24)])
def test_translation_is_a_copy_shifted_by_whole_pixels_and_filled_with_zeros(height: int, width: int) -> None:
    count, down, across = 3000, int(height / 8 + 0.5), int(width / 8 + 0.5)
    images = copies(count, 2, height, width)
    found = DiffAugment(["translation"])(images)
    padded = pad(images[0], [across, across, down, down])
    shifts = {(y, x): padded[:, y : y + height, x : x + width] for y in range(2 * down + 1) for x in range(2 * across + 1)}
    fractions = {shift: float((found == copy).all((1, 2, 3)).float().mean()) for shift, copy in shifts.items()}
    assert sum(fractions.values()) == pytest.approx(1)  # every image is one of them
    assert all(is_near_probability(fraction, 1 / len(shifts), count) for fraction in fractions.values())


@pytest.mark.parametrize(("size", "ratio"), [(8, 0.5), (9, 0.5), (12, 0.25), (10, 0.3), (6, 0.0), (6, 1.0)])
def test_cutout_is_a_clipped_square_at_any_position(size: int, ratio: float) -> None:
    side = int(ratio * size + 0.5)
    images = random_images(3000, 3, size, size).abs() + 0.1
    found = DiffAugment(["cutout"], cutout=ratio)(images)
    zeroed = found == 0
    torch.testing.assert_close(found[~zeroed], images[~zeroed], rtol=0, atol=0)
    assert zeroed.flatten(1).sum(1).max() <= 3 * side**2
    assert torch.equal(zeroed[:, 0], zeroed[:, 1]) and torch.equal(zeroed[:, 0], zeroed[:, 2])
    rows, columns = zeroed[:, 0].any(2), zeroed[:, 0].any(1)
    assert torch.equal(zeroed[:, 0], rows[:, :, None] & columns[:, None, :])
    centers = range(size + 1 if side % 2 == 0 else size)
    possible = {tuple(c - side // 2 <= position < c - side // 2 + side for position in range(size)) for c in centers}
    for crossed in (rows, columns):
        assert {tuple(line) for line in crossed.tolist()} == possible


def test_policies_are_applied_in_the_order_given() -> None:
    bright = {"brightness": (0.5, 0.5), "saturation": (1.0, 1.0), "contrast": (1.0, 1.0)}
    images = random_images(8).abs() + 0.1
    assert (DiffAugment(["color", "cutout"], **bright)(images) == 0).any()
    assert not (DiffAugment(["cutout", "color"], **bright)(images) == 0).any()


# --- instance noise


def test_instance_noise_is_white_gaussian_and_decreases_linearly() -> None:
    noise, images = InstanceNoise(sigma=0.2, until=0.5), random_images(64, 3, 32, 32)
    for progress, sigma in ((0.0, 0.2), (0.125, 0.15), (0.25, 0.1), (0.49, 0.004), (0.5, 0.0), (1.0, 0.0)):
        noise.set_progress(progress)
        added = noise(images) - images
        assert float(added.std()) == pytest.approx(sigma, rel=0.02, abs=1e-9)
        assert abs(float(added.mean())) <= 4 * sigma / math.sqrt(added.numel())
    noise.set_progress(0.0)
    z = (noise(images) - images).flatten() / 0.2
    assert float((z**4).mean()) == pytest.approx(3, rel=0.05)
    assert abs(float((z[1:] * z[:-1]).mean())) < 4 / math.sqrt(len(z))


# --- ADA: geometry


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (9, 14), (1, 5)])
def test_ada_at_p_0_is_the_identity(channels: int, height: int, width: int) -> None:
    images = random_images(4, channels, height, width)
    torch.testing.assert_close(AdaptiveAugment(p=0.0)(images), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_ada_flips_with_probability_p_over_2(p: float) -> None:
    images = copies(2000, height=6, width=5)
    found = only(p, flip=True)(images)
    flipped, kept = fraction_equal(found, images.flip(3)), fraction_equal(found, images)
    assert flipped + kept == pytest.approx(1)
    assert is_near_probability(flipped, p / 2, 2000)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_ada_rotates_by_quarter_turns(p: float) -> None:
    images = copies(2000, height=6, width=6)
    found = only(p, quarter_turns=True)(images)
    fractions = [fraction_equal(found, images.rot90(k, (2, 3))) for k in range(4)]
    assert sum(fractions) == pytest.approx(1)
    assert all(is_near_probability(fractions[k], p / 4, 2000) for k in (1, 2, 3))


def test_ada_shifts_by_whole_pixels_with_reflection() -> None:
    count, height, width = 4000, 16, 8
    images = copies(count, 1, height, width)
    found = only(shift=0.125)(images)
    padded = pad(images[:1], [1, 1, 2, 2], mode="reflect")[0]
    fractions = {(y, x): fraction_equal(found, padded[:, y : y + height, x : x + width]) for y in range(5) for x in range(3)}
    assert sum(fractions.values()) == pytest.approx(1)
    # U(-2, 2) and U(-1, 1) rounded: the ends have half the probability of the others
    down, across = (0.125, 0.25, 0.25, 0.25, 0.125), (0.25, 0.5, 0.25)
    assert all(is_near_probability(fraction, down[y] * across[x], count) for (y, x), fraction in fractions.items())


def drawn_affine_maps(ada: AdaptiveAugment, count: int, size: int = 41) -> tuple[Tensor, Tensor]:
    """The affine maps from output to input positions that ``ada`` draws, in pixels from the center: ``[N, 2, 2]``, ``[N, 2]``.

    They are measured at the center of images whose two channels are x and y, where bilinear sampling is exact.
    """
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    found = ada(torch.stack([x, y]).expand(count, -1, -1, -1))
    middle = size // 2
    center, right, below = (found[:, :, middle + dy, middle + dx] for dy, dx in ((0, 0), (0, 1), (1, 0)))
    return torch.stack([right - center, below - center], dim=-1), center


def test_ada_scale_is_isotropic() -> None:
    linear, offset = drawn_affine_maps(only(scale=0.2), 4000)
    factor = linear[:, 0, 0]
    torch.testing.assert_close(linear, factor[:, None, None] * torch.eye(2, dtype=torch.float64).expand(4000, 2, 2))
    assert offset.abs().max() < 1e-6
    assert float(factor.log2().std()) == pytest.approx(0.2, rel=0.05) and abs(float(factor.log2().mean())) < 0.015


def test_ada_stretch_is_anisotropic_and_keeps_the_area() -> None:
    linear, _ = drawn_affine_maps(only(stretch=0.2), 4000)
    assert linear[:, 0, 1].abs().max() < 1e-6 and linear[:, 1, 0].abs().max() < 1e-6
    torch.testing.assert_close(linear[:, 0, 0] * linear[:, 1, 1], torch.ones(4000, dtype=torch.float64))
    assert float(linear[:, 0, 0].log2().std()) == pytest.approx(0.2, rel=0.05)


def test_ada_translates_by_fractions_of_a_pixel() -> None:
    linear, offset = drawn_affine_maps(only(translation=0.05), 4000)
    torch.testing.assert_close(linear, torch.eye(2, dtype=torch.float64).expand(4000, 2, 2))
    for axis in range(2):
        assert float(offset[:, axis].std()) == pytest.approx(0.05 * 41, rel=0.05)
    assert abs(float(offset.T.corrcoef()[0, 1])) < 0.07
    assert (offset - offset.round()).abs().max() > 0.4


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_ada_rotates_by_any_angle_before_or_after_stretching_with_probability_p(p: float) -> None:
    linear, offset = drawn_affine_maps(only(p, rotation=1.0), 4000)
    torch.testing.assert_close(linear @ linear.mT, torch.eye(2, dtype=torch.float64).expand(4000, 2, 2))
    assert offset.abs().max() < 1e-6
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0])
    assert is_near_probability(float((angle.abs() > 1e-6).double().mean()), p, 4000)
    rotated = angle[angle.abs() > 1e-6]
    position = ((rotated + math.pi) / (2 * math.pi)).sort().values  # the sum of two uniform angles is uniform
    assert (position - torch.linspace(0, 1, len(rotated))).abs().max() < 1.95 / math.sqrt(len(rotated))


def test_ada_rotates_before_and_after_stretching() -> None:
    linear, _ = drawn_affine_maps(only(rotation=1.0, stretch=0.2), 500)
    after, sizes, before = torch.linalg.svd(linear)
    torch.testing.assert_close(sizes.prod(1), torch.ones(500, dtype=torch.float64))
    for rotation in (after, before):
        assert float(rotation[:, 0, 0].abs().std()) > 0.25  # neither is the identity


def test_ada_samples_like_scipy() -> None:
    ada, size = AdaptiveAugment(p=0.8, target=None, **(OFF | GEOMETRY)), 41
    torch.manual_seed(3)
    linear, offset = drawn_affine_maps(ada, 12, size)
    images = random_images(12, 2, size, size, torch.float64)
    found = repeatable(ada, 3)(images).numpy()
    axis = np.arange(size) - size // 2
    positions = np.stack(np.meshgrid(axis, axis, indexing="xy"), -1)
    for n in range(12):
        x, y = np.moveaxis(positions @ linear[n].numpy().T + offset[n].numpy() + size // 2, -1, 0)
        for channel in range(2):
            expected = map_coordinates(images[n, channel].numpy(), [y, x], order=1, mode="mirror")
            np.testing.assert_allclose(found[n, channel], expected, atol=1e-4)


def test_the_gradient_of_ada_is_the_transpose_of_its_sampling() -> None:
    ada, images = repeatable(only(**GEOMETRY)), random_images(4, dtype=torch.float64).requires_grad_()
    weight = torch.randn_like(images)
    (found,) = torch.autograd.grad((ada(images) * weight).sum(), images)
    # the gradient of a pixel is its contribution to the weighted sum
    for n, c, y, x in ((0, 0, 3, 4), (1, 2, 0, 0), (3, 1, 7, 5)):
        impulse = torch.zeros_like(images).index_put_([torch.tensor(i) for i in (n, c, y, x)], torch.tensor(1.0).double())
        assert float(found[n, c, y, x]) == pytest.approx(float((ada(impulse) * weight).sum()), abs=1e-9)


# --- ADA: color


def drawn_color_maps(ada: AdaptiveAugment, count: int) -> tuple[Tensor, Tensor]:
    """The color matrices ``[N, 3, 3]`` and offsets ``[N, 3]`` that ``ada`` draws, measured on black, red, green and blue."""
    colors = torch.cat([torch.zeros(3, 1), torch.eye(3)], 1).double().view(1, 3, 2, 2)
    found = ada(colors.expand(count, -1, -1, -1)).flatten(2)
    return found[:, :, 1:] - found[:, :, :1], found[:, :, 0]


LUMA = torch.full((3, 3), 1 / 3, dtype=torch.float64)
IDENTITY = torch.eye(3, dtype=torch.float64)


def test_ada_brightness_and_contrast() -> None:
    matrix, offset = drawn_color_maps(only(brightness=0.2), 4000)
    torch.testing.assert_close(matrix, IDENTITY.expand(4000, 3, 3))
    torch.testing.assert_close(offset, offset[:, :1].expand(4000, 3))
    assert float(offset[:, 0].std()) == pytest.approx(0.2, rel=0.05)
    matrix, offset = drawn_color_maps(only(contrast=0.5), 4000)
    torch.testing.assert_close(matrix, matrix[:, :1, :1] * IDENTITY)
    assert float(matrix[:, 0, 0].log2().std()) == pytest.approx(0.5, rel=0.05) and offset.abs().max() == 0


def test_ada_luma_flip_keeps_hue_and_saturation() -> None:
    matrix, _ = drawn_color_maps(only(luma_flip=True), 2000)
    flipped = (matrix - (IDENTITY - 2 * LUMA)).abs().amax((1, 2)) < 1e-6
    kept = (matrix - IDENTITY).abs().amax((1, 2)) < 1e-6
    assert (flipped ^ kept).all() and is_near_probability(float(flipped.double().mean()), 0.5, 2000)


def test_ada_hue_rotates_around_the_gray_axis() -> None:
    matrix, _ = drawn_color_maps(only(hue=1.0), 4000)
    torch.testing.assert_close(matrix @ matrix.mT, IDENTITY.expand(4000, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(4000, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(2), torch.ones(4000, 3, dtype=torch.float64))
    cosine = (matrix.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    angle = torch.acos(cosine.clamp(-1, 1)).sort().values / math.pi
    assert (angle - torch.linspace(0, 1, 4000)).abs().max() < 0.031
    third, _ = drawn_color_maps(only(hue=1 / 3), 4000)
    assert float((third.diagonal(dim1=1, dim2=2).sum(1) - 1).min() / 2) == pytest.approx(math.cos(math.pi / 3), abs=0.01)


def test_ada_saturation_scales_the_distance_from_gray() -> None:
    matrix, _ = drawn_color_maps(only(saturation=1.0), 4000)
    factor = matrix[:, 0, 0] - matrix[:, 0, 1]
    torch.testing.assert_close(matrix, LUMA + factor[:, None, None] * (IDENTITY - LUMA))
    assert float(factor.log2().std()) == pytest.approx(1.0, rel=0.05)


def test_ada_composes_color_transformations_in_the_papers_order() -> None:
    matrix, offset = drawn_color_maps(only(brightness=0.2, contrast=1.5, luma_flip=True, hue=1.0, saturation=1.0), 4000)
    luma = matrix.sum((1, 2)) / 3  # factor of gray: contrast, times -1 where luma is flipped
    assert (luma < 0).any() and (luma > 0).any()
    torch.testing.assert_close(matrix @ LUMA, luma[:, None, None] * LUMA)  # gray stays gray
    torch.testing.assert_close(offset, offset[:, :1].expand(-1, 3))
    assert float((offset[:, 0] / luma).std()) == pytest.approx(0.2, rel=0.05)  # the other factors apply to brightness
    chroma = matrix @ (IDENTITY - LUMA)
    squared = chroma @ chroma.mT  # a rotation times contrast and saturation
    torch.testing.assert_close(squared, squared[:, :1, :1] * 1.5 * (IDENTITY - LUMA))


@pytest.mark.parametrize("channels", [1, 2])
def test_images_without_three_channels_get_brightness_and_contrast_only(channels: int) -> None:
    images = copies(64, channels)
    torch.testing.assert_close(only(luma_flip=True, hue=1.0, saturation=1.0)(images), images, rtol=0, atol=1e-5)
    found = only(brightness=0.2, contrast=0.5, luma_flip=True)(images).double()
    x = images[0].flatten().double()
    for image in found:
        factor, offset = np.polyfit(x.numpy(), image.flatten().numpy(), 1)
        assert factor > 0
        np.testing.assert_allclose(image.flatten().numpy(), factor * x.numpy() + offset, atol=1e-5)


STRENGTHS = [name for name in OFF if name not in ("flip", "quarter_turns", "luma_flip", "shift")]


@pytest.mark.parametrize("name", STRENGTHS)
def test_ada_applies_each_transformation_with_probability_p(name: str) -> None:
    images = copies(3000)
    changed = 1 - fraction_equal(only(0.35, **{name: 0.5})(images), images)
    assert is_near_probability(changed, 0.35, 3000)


def test_ada_applies_transformations_independently() -> None:
    matrix, offset = drawn_color_maps(only(0.5, brightness=1.0, saturation=1.0), 4000)
    brightened, saturated = offset[:, 0] != 0, (matrix - IDENTITY).abs().amax((1, 2)) > 1e-6
    assert is_near_probability(float((brightened & saturated).double().mean()), 0.25, 4000)


def test_ada_cuts_squares_out_and_colors_with_their_own_probabilities() -> None:
    ada = AdaptiveAugment(p=0.8, target=None, **(OFF | {"brightness": 1.0}), color_p=0.5, cutout=0.5)
    images = ada(torch.ones(4000, 1, 16, 16))
    assert float((images[:, 0].flatten(1).amax(1) != 1.0).float().mean()) == pytest.approx(0.4, abs=0.04)
    holes = images[:, 0] == 0.0
    assert float(holes.flatten(1).any(1).float().mean()) == pytest.approx(0.8, abs=0.03)
    whole = holes.sum((1, 2)) == 64  # those whose square lies within the image: of half the sides
    assert float(whole.float().mean()) == pytest.approx(0.8 * (0.5 + 1 / 16) ** 2, abs=0.06)
    rows, columns = holes[whole].any(2).sum(1), holes[whole].any(1).sum(1)
    assert (rows == 8).all() and (columns == 8).all()
    with pytest.raises(ValueError, match=r"cutout=2: must be fractions in \[0, 1\]"):
        AdaptiveAugment(cutout=2)


# --- ADA: adaptation of p


def test_p_changes_at_the_given_rate() -> None:
    ada = AdaptiveAugment(target=0.6, interval=4, kimg=10.0)
    for step in range(1, 41):
        logged = ada.observe(torch.full((32,), 0.1))
        expected = step // 4 * 4 * 32 / 10_000
        assert float(logged["ada_p"]) == float(ada.p) == pytest.approx(expected, abs=1e-6)
        assert float(logged["ada_rt"]) == 1.0
    for step in range(41, 90):
        assert float(ada.observe(torch.full((32,), -0.1))["ada_p"]) == pytest.approx(
            max(0.0, (80 - step // 4 * 4) * 0.0032), abs=1e-6
        )
    assert float(ada.p) == 0.0


def test_p_follows_the_definition() -> None:
    ada = AdaptiveAugment(p=0.3, target=0.2, interval=3, kimg=1.0)
    p, signs = 0.3, []
    for step in range(60):
        logits = torch.randn(5 + step % 3) + 0.25
        signs += [math.copysign(1, value) for value in logits.tolist()]
        logged, mean = ada.observe(logits), float(np.mean(signs))
        if step % 3 == 2:
            p = min(1.0, max(0.0, p + math.copysign(len(signs) / 1000, mean - 0.2)))
            signs = []
        assert float(logged["ada_p"]) == pytest.approx(p, abs=1e-5)
        assert float(logged["ada_rt"]) == pytest.approx(mean, abs=1e-6)


def test_p_is_clamped_and_constant_if_the_target_is_met_or_none() -> None:
    ada = AdaptiveAugment(p=0.99, interval=1, kimg=0.1)
    assert [float(ada.observe(torch.ones(8))["ada_p"]) for _ in range(3)] == [1.0] * 3
    fixed, met = AdaptiveAugment(p=0.25, target=None, interval=1), AdaptiveAugment(p=0.25, target=0.0, interval=1)
    for ada, logits in ((fixed, torch.ones(8)), (met, torch.tensor([1.0, -1.0]))):
        assert float(ada.observe(logits)["ada_p"]) == 0.25


def test_logged_values_are_not_changed_by_later_steps() -> None:
    ada = AdaptiveAugment(p=0.5, interval=1, kimg=1.0)
    first = ada.observe(torch.ones(8))
    ada.observe(-torch.ones(8))
    assert {name: float(value) for name, value in first.items()} == {"ada_p": pytest.approx(0.508), "ada_rt": 1.0}


def test_a_resumed_ada_is_bit_identical() -> None:
    logits, images = torch.randn(23, 7) + 0.5, random_images(6)
    whole, stopped = (AdaptiveAugment(p=0.4, interval=4, kimg=1.0) for _ in range(2))
    for step in range(10):  # stops within an interval
        whole.observe(logits[step])
        stopped.observe(logits[step])
    file = io.BytesIO()
    torch.save(Augmentations({"ada": stopped}).state_dict(), file)
    file.seek(0)
    resumed = AdaptiveAugment(p=0.0, interval=4, kimg=1.0)
    Augmentations({"ada": resumed}).load_state_dict(torch.load(file, weights_only=True))
    for step in range(10, 23):
        expected, found = whole.observe(logits[step]), resumed.observe(logits[step])
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert torch.equal(repeatable(resumed, step)(images), repeatable(whole, step)(images))
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), resumed.buffers(), strict=True))
    assert float(whole.p) not in (0.0, 0.4, 1.0)


# --- arguments and configuration files

INVALID: list[tuple[Callable[..., nn.Module], dict[str, Any], str]] = [
    (DiffAugment, {"policy": ["color", "colours"]}, r"policy=.*colours.*color, translation, cutout"),
    (DiffAugment, {"policy": []}, r"policy=\[\].*color, translation, cutout"),
    (DiffAugment, {"policy": "color"}, "policy=color.*list"),
    (DiffAugment, {"policy": ["color"], "brightness": (0.5, -0.5)}, r"brightness=\[0.5, -0.5\].*smaller"),
    (DiffAugment, {"policy": ["color"], "saturation": (-1.0, 1.0)}, r"saturation=\[-1.0, 1.0\].*0 or more"),
    (DiffAugment, {"policy": ["color"], "contrast": (0.5, math.inf)}, "contrast=.*two numbers"),
    (DiffAugment, {"policy": ["color"], "contrast": (0.5,)}, "contrast=.*two numbers"),
    (DiffAugment, {"policy": ["translation"], "translation": 1.5}, r"translation=1.5.*\[0, 1\]"),
    (DiffAugment, {"policy": ["cutout"], "cutout": -0.1}, r"cutout=-0.1.*\[0, 1\]"),
    (InstanceNoise, {"sigma": -1.0}, "sigma=-1.0.*0 or more"),
    (InstanceNoise, {"sigma": math.nan}, "sigma=nan"),
    (InstanceNoise, {"until": 0.0}, r"until=0.0.*\(0, 1\]"),
    (InstanceNoise, {"until": 1.5}, r"until=1.5.*\(0, 1\]"),
    (AdaptiveAugment, {"p": 1.2}, r"p=1.2.*\[0, 1\]"),
    (AdaptiveAugment, {"target": 2.0}, r"target=2.0.*\[-1, 1\]"),
    (AdaptiveAugment, {"interval": 0}, "interval=0.*1 or more"),
    (AdaptiveAugment, {"kimg": 0.0}, "kimg=0.0.*positive"),
    (AdaptiveAugment, {"scale": -0.2}, "scale=-0.2.*0 "),
    (AdaptiveAugment, {"hue": math.inf}, "hue=inf"),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), INVALID)
def test_invalid_arguments_are_rejected(kind: Callable[..., nn.Module], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


FILES = sorted(file for file in (CONF_DIR / "augment").glob("*.yaml") if file.stem != "ada_r3gan")  # which changes defaults


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_configuration_files_state_every_default(file: Any) -> None:
    assert file.read_text().startswith("# ")
    section = OmegaConf.load(file)
    chain = Augmentations({name: instantiate(node, f"augment.{name}") for name, node in section.items()})
    assert (chain(images := random_images(2)) is images) == (file.stem == "none")
    for member, node in zip(chain, section.values(), strict=True):
        defaults = {name: p.default for name, p in inspect.signature(type(member)).parameters.items()}
        stated = {name: tuple(v) if OmegaConf.is_list(v) else v for name, v in node.items() if name != "_target_"}
        assert stated.keys() == defaults.keys()
        assert all(default in (inspect.Parameter.empty, stated[name]) for name, default in defaults.items())
