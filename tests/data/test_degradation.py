"""Degradations compared with MATLAB's imresize, Pillow, closed forms and libjpeg."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from dataset_files import rng
from helpers import as_pillow, photograph
from PIL import Image
from torch import Tensor

from gan_lab.config.argument_checks import check_arguments
from gan_lab.data.degradation import Bicubic, BlurDownsample, Degradation, Jpeg, Noise, upscale_bicubic


def matlab_weights(length: int, scale: int) -> np.ndarray:
    """Weights ``[length / scale, length]`` of MATLAB's antialiased bicubic ``imresize`` by ``1 / scale``, float64."""
    count = length // scale
    centers = (np.arange(count) + 0.5) * scale - 0.5
    first = np.floor(centers - 2 * scale).astype(int)
    positions = first[:, None] + np.arange(4 * scale + 2)
    distance = np.abs(centers[:, None] - positions) / scale
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    kernel = np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))
    kernel /= kernel.sum(1, keepdims=True)
    mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])[positions % (2 * length)]
    weights = np.zeros((count, length))
    for row in range(count):
        np.add.at(weights[row], mirrored[row], kernel[row])
    return weights


def matlab(image: Tensor, scale: int) -> np.ndarray:
    """MATLAB's ``imresize`` of uint8: rows first, rounded and clipped before columns."""
    values = image.numpy().astype(np.float64)
    for axis in (1, 2):
        weights = matlab_weights(values.shape[axis], scale)
        values = np.clip(np.floor(np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis) + 0.5), 0, 255)
    return values


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_bicubic_matches_pillow_and_matlab(scale: int) -> None:
    image = photograph(12 * scale, 9 * scale)
    expected = np.asarray(as_pillow(image).resize((9, 12), Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)
    result = Bicubic(scale, "renormalized")(image, rng()).numpy().astype(int)
    assert np.abs(result - expected).max() <= 1
    inside = (..., slice(2, -2), slice(2, -2))
    mirrored = Bicubic(scale, "mirrored")(image, rng()).numpy().astype(int)
    assert np.array_equal(mirrored[inside], result[inside])
    difference = np.abs(mirrored - matlab(image, scale))
    assert difference.max() <= 2 and (difference > 1).mean() < 0.01, difference.max()
    assert np.abs(result - matlab(image, scale))[..., 0, :].max() > 2, "they differ at the edges"


def test_bicubic_upscaling_matches_pillow_and_does_not_shift() -> None:
    image = photograph(20, 30)
    expected = np.asarray(as_pillow(image).resize((120, 80), Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)
    result = upscale_bicubic(image, 4).numpy().astype(int)
    assert result.shape == (3, 80, 120) and np.abs(result - expected)[..., 8:-8, 8:-8].max() <= 1
    batch = upscale_bicubic(torch.stack([image, image.flip(2)]), 4)
    assert torch.equal(batch[0], upscale_bicubic(image, 4)) and torch.equal(batch[1], upscale_bicubic(image, 4).flip(2)), (
        "no shift"
    )


def test_blur_downsample_is_a_gaussian_centered_on_each_block() -> None:
    image = photograph(24, 28, channels=1)
    sigma, scale = 1.6, 4
    low = BlurDownsample(scale, [sigma, sigma])(image, rng())[0].numpy()
    padded = np.pad(image[0].numpy().astype(float), 8, mode="symmetric")
    y, x = np.mgrid[: padded.shape[0], : padded.shape[1]] - 8.0
    for row, column in ((0, 0), (2, 3), (5, 6)):
        center = row * scale + 1.5, column * scale + 1.5
        within = (np.abs(y - center[0]) <= 6.5) & (np.abs(x - center[1]) <= 6.5)
        weights = np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / (2 * sigma**2)) * within
        assert abs(low[row, column] - (weights * padded).sum() / weights.sum()) <= 0.51
    gray = torch.full((3, 16, 16), 77, dtype=torch.uint8)
    assert (BlurDownsample(2, [0.5, 3.0])(gray, rng()) == 77).all()


def test_noise_has_the_given_sigma_and_jpeg_is_libjpegs() -> None:
    gray = torch.full((3, 200, 200), 128, dtype=torch.uint8)
    assert Noise([10, 10])(gray, rng()).float().std() == pytest.approx(10, rel=0.02)
    assert torch.equal(Noise([0, 0])(gray, rng()), gray)
    for channels in (1, 3):
        image = photograph(40, 48, channels=channels)
        file = io.BytesIO()
        as_pillow(image).save(file, "JPEG", quality=30)
        expected = np.asarray(Image.open(file)).reshape(40, 48, channels).transpose(2, 0, 1)
        assert np.array_equal(Jpeg([30, 30])(image, rng()).numpy(), expected)


def test_random_degradations_depend_only_on_the_generator() -> None:
    steps = {"blur": BlurDownsample(4, [0.5, 3.0]), "noise": Noise([1, 20]), "jpeg": Jpeg([20, 90])}
    degradation, image = Degradation(steps, 4), photograph(32, 40)
    first, again, other = (degradation(image, rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 8, 10) and torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Degradation({"bicubic": Bicubic(5, "mirrored")}, 5), "scale=5: must be one of 2, 3, 4, 8"),
        (
            lambda: Degradation({"jpeg": Jpeg([40, 90])}, 4),
            r"jpeg\]: downscales by a factor of 1 instead of degradation.scale",
        ),
        (lambda: Bicubic(4, "black"), "edges=black: must be one of mirrored, renormalized"),
        (lambda: Jpeg([90, 40]), r"quality=\[90, 40\]: must be two numbers in \[1, 100\], the smaller one first"),
        (lambda: Noise([5]), r"sigma=\[5\]: must be two numbers"),
        (lambda: BlurDownsample(4, [0, 1]), r"in \[0\.1, 20\]"),
    ],
)
def test_an_invalid_degradation_is_rejected(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_the_old_spelling_of_edges_is_rejected_with_the_new_one() -> None:
    with pytest.raises(ValueError, match=r"type degradation\.steps\.bicubic\.edges=renormalized"):
        check_arguments(["degradation=bicubic", "degradation.steps.bicubic.edges=renormalised"])
    with pytest.raises(ValueError, match="must be one of mirrored, renormalized"):
        Bicubic(4, "renormalised")
