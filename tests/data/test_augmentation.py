"""Augmentations against shifted copies, closed forms, SciPy and counts over many draws."""

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
    """ADA with these transformations and no others."""
    return AdaptiveAugment(p=p, target=None, **(OFF | strengths))


def pictures(count: int, channels: int = 3, height: int = 8, width: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, channels, height, width, dtype=dtype) * 2 - 1


def copies(count: int, channels: int = 3, height: int = 8, width: int = 8) -> Tensor:
    """One picture, ``count`` times."""
    return pictures(1, channels, height, width).expand(count, -1, -1, -1)


def repeatable(augmentation: Augmentation, seed: int = 0) -> Callable[[Tensor], Tensor]:
    def call(images: Tensor) -> Tensor:
        torch.manual_seed(seed)
        return augmentation(images)

    return call


def share_equal(images: Tensor, expected: Tensor) -> float:
    """Of images that are ``expected`` but for rounding."""
    return float((images - expected).abs().amax((1, 2, 3)).lt(1e-5).float().mean())


def is_near_share(found: float, expected: float, count: int) -> bool:
    """Within four standard deviations of a binomial share."""
    return abs(found - expected) <= 4 * math.sqrt(expected * (1 - expected) / count) + 1e-9


# --- what all of them promise


@every_augmentation
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_float32_comes_out_in_the_same_shape_whatever_the_format_and_autocast(
    name: str, channels: int, dtype: torch.dtype
) -> None:
    images, augment = pictures(5, channels, 8, 6).to(dtype), repeatable(EACH[name]())
    before, expected = images.clone(), augment(images.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = augment(images)
    assert found.dtype == torch.float32 and found.shape == images.shape
    assert torch.equal(found, expected) and torch.equal(images, before)


def test_products_are_in_float32_where_an_augmentation_computes() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.bfloat16
        with full_precision(torch.eye(2).half()) as matrix:
            assert (matrix @ matrix).dtype == torch.float32
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.bfloat16


@every_augmentation
def test_every_image_gets_its_own_draw(name: str) -> None:
    found = EACH[name]()(copies(6, height=16, width=16))
    different = [not torch.equal(found[a], found[b]) for a in range(6) for b in range(a)]
    assert sum(different) >= 14  # of 15: ADA leaves an image alone now and then


@every_augmentation
@pytest.mark.parametrize("channels", [1, 3])
def test_is_differentiable_twice(name: str, channels: int) -> None:
    images, augment = pictures(2, channels, 4, 3, torch.float64).requires_grad_(), repeatable(EACH[name]())
    assert augment(images).dtype == torch.float64
    assert torch.autograd.gradcheck(augment, images)
    assert torch.autograd.gradgradcheck(augment, images)
    assert torch.autograd.gradgradcheck(lambda x: augment(x) ** 3, images)


@every_augmentation
def test_a_gradient_penalty_inside_autocast_is_that_outside(name: str) -> None:
    augment, images = repeatable(EACH[name]()), pictures(3).requires_grad_()

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
def test_the_memory_format_does_not_matter(name: str) -> None:
    augment, images = repeatable(EACH[name]()), pictures(4, height=8, width=6)
    torch.testing.assert_close(augment(images.contiguous(memory_format=torch.channels_last)), augment(images))


class NoWaiting(TorchDispatchMode):
    """Refuses what waits for a GPU: reading a value, results whose size is a value, constants copied from the host."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "lift_fresh", "unique")

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in self.WAITING, func
        return func(*args, **(kwargs or {}))


@every_augmentation
def test_nothing_waits_for_the_device(name: str) -> None:
    augmentation, images = EACH[name](), pictures(4).requires_grad_()
    with NoWaiting():
        augmentation.set_progress(0.5)
        augmentation(images).square().sum().backward()
        for _ in range(5):
            figures = augmentation.observe(torch.randn(4))
    assert all(isinstance(value, Tensor) and value.dim() == 0 for value in figures.values())
    with pytest.raises(AssertionError, match="scalar"), NoWaiting():
        images.sum().item()


# --- the chain


def test_an_empty_chain_hands_the_images_through() -> None:
    images = pictures(2).bfloat16()
    chain = Augmentations({})
    assert chain(images) is images
    assert chain.observe(torch.zeros(2)) == {}


def test_a_chain_applies_its_members_in_order_and_tells_them_everything() -> None:
    bright = {"brightness": (0.25, 0.25), "saturation": (1.0, 1.0), "contrast": (1.0, 1.0)}
    noise, ada = InstanceNoise(0.4), only(p=0.5)
    members: dict[str, Augmentation] = {"hole": DiffAugment(["cutout"]), "color": DiffAugment(["color"], **bright)}
    chain = Augmentations(members | {"noise": noise, "ada": ada})
    chain.set_progress(1.0)
    ada.p.zero_()
    found = chain(torch.ones(16, 3, 8, 8))
    assert noise.sigma == 0
    assert set(found.mul(100).round().flatten().tolist()) == {25, 125}  # in the other order the holes would be 0
    ada.p.fill_(0.5)
    assert {name: float(value) for name, value in chain.observe(torch.ones(4)).items()} == {"ada_p": 0.5, "ada_rt": 1.0}
    assert "chain.ada.p" in chain.state_dict()


# --- DiffAugment


def test_color_is_the_closed_form() -> None:
    images = pictures(4, dtype=torch.float64)
    fixed = DiffAugment(["color"], brightness=(0.3, 0.3), saturation=(1.7, 1.7), contrast=(0.6, 0.6))
    x = images.numpy() + 0.3
    grey = x.mean(1, keepdims=True)
    x = grey + 1.7 * (x - grey)
    level = x.mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(fixed(images).numpy(), level + 0.6 * (x - level), atol=1e-12)


@pytest.mark.parametrize(
    ("changed", "over", "low", "high"),
    [("brightness", (), -0.5, 0.5), ("saturation", 1, 0, 2), ("contrast", (1, 2, 3), 0.5, 1.5)],
)
def test_each_color_draw_is_uniform_and_keeps_what_it_should(changed: str, over: Any, low: float, high: float) -> None:
    still = {"brightness": (0.0, 0.0), "saturation": (1.0, 1.0), "contrast": (1.0, 1.0)}
    del still[changed]
    images = copies(4000).double()
    found = DiffAugment(["color"], **still)(images)
    if changed == "brightness":
        draws = found - images
    else:
        mean = images.mean(over, keepdim=True)
        torch.testing.assert_close(found.mean(over, keepdim=True), mean)
        draws = (found - mean) / (images - mean)
    first = draws[:, :1, :1, :1]
    torch.testing.assert_close(draws, first.expand_as(draws), rtol=1e-6, atol=1e-9)  # one number an image
    position = ((first.flatten() - low) / (high - low)).sort().values
    assert (position - torch.linspace(0, 1, 4000)).abs().max() < 0.03  # Kolmogorov-Smirnov: 1.95 / sqrt(4000), p = 0.001


def test_grey_images_have_no_saturation() -> None:
    images = pictures(16, channels=1)
    still = DiffAugment(["color"], brightness=(0.0, 0.0), contrast=(1.0, 1.0))
    torch.testing.assert_close(still(images), images)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (28, 20), (8, 24)])
def test_translation_is_a_shifted_copy_with_zeros_coming_in(height: int, width: int) -> None:
    count, down, across = 3000, int(height / 8 + 0.5), int(width / 8 + 0.5)
    images = copies(count, 2, height, width)
    found = DiffAugment(["translation"])(images)
    padded = pad(images[0], [across, across, down, down])
    places = {(y, x): padded[:, y : y + height, x : x + width] for y in range(2 * down + 1) for x in range(2 * across + 1)}
    seen = {place: float((found == copy).all((1, 2, 3)).float().mean()) for place, copy in places.items()}
    assert sum(seen.values()) == pytest.approx(1)  # every image is one of them
    assert all(is_near_share(share, 1 / len(places), count) for share in seen.values())


@pytest.mark.parametrize(("size", "ratio"), [(8, 0.5), (9, 0.5), (12, 0.25), (10, 0.3), (6, 0.0), (6, 1.0)])
def test_cutout_is_a_clipped_rectangle_anywhere(size: int, ratio: float) -> None:
    side = int(ratio * size + 0.5)
    images = pictures(3000, 3, size, size).abs() + 0.1
    found = DiffAugment(["cutout"], cutout=ratio)(images)
    hole = found == 0
    torch.testing.assert_close(found[~hole], images[~hole], rtol=0, atol=0)
    assert hole.flatten(1).sum(1).max() <= 3 * side**2
    assert torch.equal(hole[:, 0], hole[:, 1]) and torch.equal(hole[:, 0], hole[:, 2])
    rows, columns = hole[:, 0].any(2), hole[:, 0].any(1)
    assert torch.equal(hole[:, 0], rows[:, :, None] & columns[:, None, :])
    centres = range(size + 1 if side % 2 == 0 else size)
    possible = {tuple(c - side // 2 <= place < c - side // 2 + side for place in range(size)) for c in centres}
    for crossed in (rows, columns):
        assert {tuple(line) for line in crossed.tolist()} == possible


def test_policies_are_applied_in_the_order_given() -> None:
    bright = {"brightness": (0.5, 0.5), "saturation": (1.0, 1.0), "contrast": (1.0, 1.0)}
    images = pictures(8).abs() + 0.1
    assert (DiffAugment(["color", "cutout"], **bright)(images) == 0).any()
    assert not (DiffAugment(["cutout", "color"], **bright)(images) == 0).any()


# --- instance noise


def test_instance_noise_is_gaussian_white_and_fades_linearly() -> None:
    noise, images = InstanceNoise(sigma=0.2, until=0.5), pictures(64, 3, 32, 32)
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
    images = pictures(4, channels, height, width)
    torch.testing.assert_close(AdaptiveAugment(p=0.0)(images), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_ada_flips_half_of_the_chosen(p: float) -> None:
    images = copies(2000, height=6, width=5)
    found = only(p, flip=True)(images)
    flipped, kept = share_equal(found, images.flip(3)), share_equal(found, images)
    assert flipped + kept == pytest.approx(1)
    assert is_near_share(flipped, p / 2, 2000)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_ada_turns_by_quarters(p: float) -> None:
    images = copies(2000, height=6, width=6)
    found = only(p, quarter_turns=True)(images)
    shares = [share_equal(found, images.rot90(k, (2, 3))) for k in range(4)]
    assert sum(shares) == pytest.approx(1)
    assert all(is_near_share(shares[k], p / 4, 2000) for k in (1, 2, 3))


def test_ada_shifts_by_whole_pixels_of_a_mirrored_image() -> None:
    count, height, width = 4000, 16, 8
    images = copies(count, 1, height, width)
    found = only(shift=0.125)(images)
    padded = pad(images[:1], [1, 1, 2, 2], mode="reflect")[0]
    seen = {(y, x): share_equal(found, padded[:, y : y + height, x : x + width]) for y in range(5) for x in range(3)}
    assert sum(seen.values()) == pytest.approx(1)
    # U(-2, 2) and U(-1, 1) rounded: the ends get half of what the others do
    down, across = (0.125, 0.25, 0.25, 0.25, 0.125), (0.25, 0.5, 0.25)
    assert all(is_near_share(share, down[y] * across[x], count) for (y, x), share in seen.items())


def maps_of(ada: AdaptiveAugment, count: int, size: int = 41) -> tuple[Tensor, Tensor]:
    """The maps from output to input positions that ``ada`` draws: ``[N, 2, 2]`` and ``[N, 2]``, in pixels from the centre.

    Read off images whose two channels are x and y, where bilinear sampling is exact, in the middle, where nothing is mirrored.
    """
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    found = ada(torch.stack([x, y]).expand(count, -1, -1, -1))
    middle = size // 2
    centre, right, below = (found[:, :, middle + dy, middle + dx] for dy, dx in ((0, 0), (0, 1), (1, 0)))
    return torch.stack([right - centre, below - centre], dim=-1), centre


def test_ada_scales_both_axes_alike() -> None:
    linear, offset = maps_of(only(scale=0.2), 4000)
    factor = linear[:, 0, 0]
    torch.testing.assert_close(linear, factor[:, None, None] * torch.eye(2, dtype=torch.float64).expand(4000, 2, 2))
    assert offset.abs().max() < 1e-6
    assert float(factor.log2().std()) == pytest.approx(0.2, rel=0.05) and abs(float(factor.log2().mean())) < 0.015


def test_ada_stretches_one_axis_by_as_much_as_it_shrinks_the_other() -> None:
    linear, _ = maps_of(only(stretch=0.2), 4000)
    assert linear[:, 0, 1].abs().max() < 1e-6 and linear[:, 1, 0].abs().max() < 1e-6
    torch.testing.assert_close(linear[:, 0, 0] * linear[:, 1, 1], torch.ones(4000, dtype=torch.float64))
    assert float(linear[:, 0, 0].log2().std()) == pytest.approx(0.2, rel=0.05)


def test_ada_translates_by_fractions_of_a_pixel() -> None:
    linear, offset = maps_of(only(translation=0.05), 4000)
    torch.testing.assert_close(linear, torch.eye(2, dtype=torch.float64).expand(4000, 2, 2))
    for axis in range(2):
        assert float(offset[:, axis].std()) == pytest.approx(0.05 * 41, rel=0.05)
    assert abs(float(offset.T.corrcoef()[0, 1])) < 0.07
    assert (offset - offset.round()).abs().max() > 0.4


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_ada_rotates_by_any_angle_before_or_after_stretching_with_probability_p(p: float) -> None:
    linear, offset = maps_of(only(p, rotation=1.0), 4000)
    torch.testing.assert_close(linear @ linear.mT, torch.eye(2, dtype=torch.float64).expand(4000, 2, 2))
    assert offset.abs().max() < 1e-6
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0])
    assert is_near_share(float((angle.abs() > 1e-6).double().mean()), p, 4000)
    turned = angle[angle.abs() > 1e-6]
    position = ((turned + math.pi) / (2 * math.pi)).sort().values  # the sum of two uniform angles is one
    assert (position - torch.linspace(0, 1, len(turned))).abs().max() < 1.95 / math.sqrt(len(turned))


def test_ada_rotates_on_both_sides_of_stretching() -> None:
    linear, _ = maps_of(only(rotation=1.0, stretch=0.2), 500)
    after, sizes, before = torch.linalg.svd(linear)
    torch.testing.assert_close(sizes.prod(1), torch.ones(500, dtype=torch.float64))
    for rotation in (after, before):
        assert float(rotation[:, 0, 0].abs().std()) > 0.25  # neither side stays along the axes


def test_ada_samples_once_as_scipy_does() -> None:
    ada, size = AdaptiveAugment(p=0.8, target=None, **(OFF | GEOMETRY)), 41
    torch.manual_seed(3)
    linear, offset = maps_of(ada, 12, size)
    images = pictures(12, 2, size, size, torch.float64)
    found = repeatable(ada, 3)(images).numpy()
    axis = np.arange(size) - size // 2
    places = np.stack(np.meshgrid(axis, axis, indexing="xy"), -1)
    for n in range(12):
        x, y = np.moveaxis(places @ linear[n].numpy().T + offset[n].numpy() + size // 2, -1, 0)
        for channel in range(2):
            expected = map_coordinates(images[n, channel].numpy(), [y, x], order=1, mode="mirror")
            np.testing.assert_allclose(found[n, channel], expected, atol=1e-4)


def test_adas_gradient_is_the_transpose_of_its_sampling() -> None:
    ada, images = repeatable(only(**GEOMETRY)), pictures(4, dtype=torch.float64).requires_grad_()
    weight = torch.randn_like(images)
    (found,) = torch.autograd.grad((ada(images) * weight).sum(), images)
    # entry by entry: what each pixel contributes to the weighted sum
    for n, c, y, x in ((0, 0, 3, 4), (1, 2, 0, 0), (3, 1, 7, 5)):
        impulse = torch.zeros_like(images).index_put_([torch.tensor(i) for i in (n, c, y, x)], torch.tensor(1.0).double())
        assert float(found[n, c, y, x]) == pytest.approx(float((ada(impulse) * weight).sum()), abs=1e-9)


# --- ADA: colour


def matrices_of(ada: AdaptiveAugment, count: int) -> tuple[Tensor, Tensor]:
    """The maps of colours that ``ada`` draws, ``[N, 3, 3]`` and ``[N, 3]``, read off black, red, green and blue."""
    colours = torch.cat([torch.zeros(3, 1), torch.eye(3)], 1).double().view(1, 3, 2, 2)
    found = ada(colours.expand(count, -1, -1, -1)).flatten(2)
    return found[:, :, 1:] - found[:, :, :1], found[:, :, 0]


LUMA = torch.full((3, 3), 1 / 3, dtype=torch.float64)
IDENTITY = torch.eye(3, dtype=torch.float64)


def test_ada_brightness_and_contrast() -> None:
    matrix, offset = matrices_of(only(brightness=0.2), 4000)
    torch.testing.assert_close(matrix, IDENTITY.expand(4000, 3, 3))
    torch.testing.assert_close(offset, offset[:, :1].expand(4000, 3))
    assert float(offset[:, 0].std()) == pytest.approx(0.2, rel=0.05)
    matrix, offset = matrices_of(only(contrast=0.5), 4000)
    torch.testing.assert_close(matrix, matrix[:, :1, :1] * IDENTITY)
    assert float(matrix[:, 0, 0].log2().std()) == pytest.approx(0.5, rel=0.05) and offset.abs().max() == 0


def test_ada_flips_luma_and_keeps_the_rest() -> None:
    matrix, _ = matrices_of(only(luma_flip=True), 2000)
    flipped = (matrix - (IDENTITY - 2 * LUMA)).abs().amax((1, 2)) < 1e-6
    kept = (matrix - IDENTITY).abs().amax((1, 2)) < 1e-6
    assert (flipped ^ kept).all() and is_near_share(float(flipped.double().mean()), 0.5, 2000)


def test_ada_turns_hue_about_the_grey_axis() -> None:
    matrix, _ = matrices_of(only(hue=1.0), 4000)
    torch.testing.assert_close(matrix @ matrix.mT, IDENTITY.expand(4000, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(4000, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(2), torch.ones(4000, 3, dtype=torch.float64))
    cosine = (matrix.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    angle = torch.acos(cosine.clamp(-1, 1)).sort().values / math.pi
    assert (angle - torch.linspace(0, 1, 4000)).abs().max() < 0.031
    third, _ = matrices_of(only(hue=1 / 3), 4000)
    assert float((third.diagonal(dim1=1, dim2=2).sum(1) - 1).min() / 2) == pytest.approx(math.cos(math.pi / 3), abs=0.01)


def test_ada_saturation_scales_the_distance_from_grey() -> None:
    matrix, _ = matrices_of(only(saturation=1.0), 4000)
    factor = matrix[:, 0, 0] - matrix[:, 0, 1]
    torch.testing.assert_close(matrix, LUMA + factor[:, None, None] * (IDENTITY - LUMA))
    assert float(factor.log2().std()) == pytest.approx(1.0, rel=0.05)


def test_ada_composes_colours_in_the_papers_order() -> None:
    matrix, offset = matrices_of(only(brightness=0.2, contrast=1.5, luma_flip=True, hue=1.0, saturation=1.0), 4000)
    luma = matrix.sum((1, 2)) / 3  # what grey is multiplied by: contrast, and -1 where luma is flipped
    assert (luma < 0).any() and (luma > 0).any()
    torch.testing.assert_close(matrix @ LUMA, luma[:, None, None] * LUMA)  # grey stays grey
    torch.testing.assert_close(offset, offset[:, :1].expand(-1, 3))
    assert float((offset[:, 0] / luma).std()) == pytest.approx(0.2, rel=0.05)  # brightness is multiplied by what follows
    chroma = matrix @ (IDENTITY - LUMA)
    squared = chroma @ chroma.mT  # a rotation times contrast and saturation
    torch.testing.assert_close(squared, squared[:, :1, :1] * 1.5 * (IDENTITY - LUMA))


@pytest.mark.parametrize("channels", [1, 2])
def test_other_than_colour_images_get_brightness_and_contrast_only(channels: int) -> None:
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
def test_ada_chooses_each_transformation_with_probability_p(name: str) -> None:
    images = copies(3000)
    changed = 1 - share_equal(only(0.35, **{name: 0.5})(images), images)
    assert is_near_share(changed, 0.35, 3000)


def test_ada_chooses_transformations_independently() -> None:
    matrix, offset = matrices_of(only(0.5, brightness=1.0, saturation=1.0), 4000)
    bright, coloured = offset[:, 0] != 0, (matrix - IDENTITY).abs().amax((1, 2)) > 1e-6
    assert is_near_share(float((bright & coloured).double().mean()), 0.25, 4000)


# --- ADA: control


def test_p_rises_at_the_exact_rate_and_falls_back_to_0() -> None:
    ada = AdaptiveAugment(target=0.6, interval=4, kimg=10.0)
    for turn in range(1, 41):
        figures = ada.observe(torch.full((32,), 0.1))
        expected = turn // 4 * 4 * 32 / 10_000
        assert float(figures["ada_p"]) == float(ada.p) == pytest.approx(expected, abs=1e-6)
        assert float(figures["ada_rt"]) == 1.0
    for turn in range(41, 90):
        assert float(ada.observe(torch.full((32,), -0.1))["ada_p"]) == pytest.approx(
            max(0.0, (80 - turn // 4 * 4) * 0.0032), abs=1e-6
        )
    assert float(ada.p) == 0.0


def test_p_follows_the_rule_written_out() -> None:
    ada = AdaptiveAugment(p=0.3, target=0.2, interval=3, kimg=1.0)
    p, signs = 0.3, []
    for turn in range(60):
        logits = torch.randn(5 + turn % 3) + 0.25
        signs += [math.copysign(1, value) for value in logits.tolist()]
        figures, mean = ada.observe(logits), float(np.mean(signs))
        if turn % 3 == 2:
            p = min(1.0, max(0.0, p + math.copysign(len(signs) / 1000, mean - 0.2)))
            signs = []
        assert float(figures["ada_p"]) == pytest.approx(p, abs=1e-5)
        assert float(figures["ada_rt"]) == pytest.approx(mean, abs=1e-6)


def test_p_stays_within_0_and_1_and_where_the_target_is_met_or_absent() -> None:
    ada = AdaptiveAugment(p=0.99, interval=1, kimg=0.1)
    assert [float(ada.observe(torch.ones(8))["ada_p"]) for _ in range(3)] == [1.0] * 3
    fixed, met = AdaptiveAugment(p=0.25, target=None, interval=1), AdaptiveAugment(p=0.25, target=0.0, interval=1)
    for ada, logits in ((fixed, torch.ones(8)), (met, torch.tensor([1.0, -1.0]))):
        assert float(ada.observe(logits)["ada_p"]) == 0.25


def test_figures_are_not_changed_by_later_turns() -> None:
    ada = AdaptiveAugment(p=0.5, interval=1, kimg=1.0)
    first = ada.observe(torch.ones(8))
    ada.observe(-torch.ones(8))
    assert {name: float(value) for name, value in first.items()} == {"ada_p": pytest.approx(0.508), "ada_rt": 1.0}


def test_a_resumed_ada_is_bit_identical() -> None:
    logits, images = torch.randn(23, 7) + 0.5, pictures(6)
    whole, stopped = (AdaptiveAugment(p=0.4, interval=4, kimg=1.0) for _ in range(2))
    for turn in range(10):  # in the middle of an interval
        whole.observe(logits[turn])
        stopped.observe(logits[turn])
    file = io.BytesIO()
    torch.save(Augmentations({"ada": stopped}).state_dict(), file)
    file.seek(0)
    resumed = AdaptiveAugment(p=0.0, interval=4, kimg=1.0)
    Augmentations({"ada": resumed}).load_state_dict(torch.load(file, weights_only=True))
    for turn in range(10, 23):
        expected, found = whole.observe(logits[turn]), resumed.observe(logits[turn])
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert torch.equal(repeatable(resumed, turn)(images), repeatable(whole, turn)(images))
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), resumed.buffers(), strict=True))
    assert float(whole.p) not in (0.0, 0.4, 1.0)


# --- arguments and files

NONSENSE: list[tuple[Callable[..., nn.Module], dict[str, Any], str]] = [
    (DiffAugment, {"policy": ["color", "colour"]}, r"policy=.*colour.*color, translation, cutout"),
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


@pytest.mark.parametrize(("kind", "arguments", "message"), NONSENSE)
def test_nonsense_is_refused(kind: Callable[..., nn.Module], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


FILES = sorted((CONF_DIR / "augment").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_says_what_it_is_and_states_every_number(file: Any) -> None:
    assert file.read_text().startswith("# ")
    section = OmegaConf.load(file)
    chain = Augmentations({name: instantiate(node, f"augment.{name}") for name, node in section.items()})
    assert (chain(images := pictures(2)) is images) == (file.stem == "none")
    for member, node in zip(chain, section.values(), strict=True):
        defaults = {name: p.default for name, p in inspect.signature(type(member)).parameters.items()}
        stated = {name: tuple(v) if OmegaConf.is_list(v) else v for name, v in node.items() if name != "_target_"}
        assert stated.keys() == defaults.keys()
        assert all(default in (inspect.Parameter.empty, stated[name]) for name, default in defaults.items())
