"""How far images are from what they should have been: super-resolution, reconstruction.

Every metric here takes pairs, ``metric(fakes, reals)``: uint8 ``[N, C, H, W]``, C = 1 or 3, the n-th fake belonging to the n-th
real; and returns means over them by name. Sets with images of several sizes are measured size by size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gan_lab.metrics.ssim import LEVELS, ssim

LUMA = (65.481, 128.553, 24.966)
"""Of red, green and blue in [0, 1], with 16 added to their sum: ITU-R BT.601, [16, 235]."""
BLOCK_VALUES = 2**22
"""Of one side of the pairs measured at a time."""


class FullReferenceMetric(ABC):
    """A comparison of images with what they should have been.

    Attributes:
        headline: the one of its scores that may stand for a run, lower being better; None if it has none such.
        smallest: pixels across that its network takes.
    """

    primary_score: str | None = None
    min_size: int = 1

    def __call__(self, fakes: Tensor, reals: Tensor) -> dict[str, float]:
        """Means over all pairs.

        Raises:
            ValueError: numbers or sizes differ, there are none, or they are too small.
        """
        if fakes.shape != reals.shape or not len(fakes):
            sizes = ["x".join(map(str, side.shape[1:])) for side in (fakes, reals)]
            raise ValueError(f"pairs: {len(fakes)} fakes of {sizes[0]} and {len(reals)} reals of {sizes[1]} make none")
        rows = max(1, BLOCK_VALUES // fakes[0].numel())
        parts = [self.of_pairs(*part) for part in zip(fakes.split(rows), reals.split(rows), strict=True)]
        return {name: torch.cat([part[name] for part in parts]).mean(dtype=torch.float64).item() for name in parts[0]}

    @abstractmethod
    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        """``[N]`` of each score."""

    def settings(self) -> str:
        """The numbers it was made with, for the record."""
        numbers = {name.lstrip("_"): value for name, value in vars(self).items() if name.startswith("_")}
        return ", ".join(f"{name}={value}" for name, value in numbers.items()) or "as published"

    def to(self, device: torch.device) -> None:  # noqa: B027 - most have no network
        """Compute there from here on."""


class PSNR(FullReferenceMetric):
    """``psnr``: decibels, ``10 log10(255^2 / e)`` with e the mean squared error of all values; ``psnr_y`` of the luma; and
    ``rmse_y``, the root of that error, in levels: lower where the picture is better, as scores are that runs are judged by.

    The mean is over the images' decibels, as BasicSR takes it. Of identical images the logarithm is infinite, which no mean and
    no JSON survives: an error counts as at least that of one level in one value of the image, the smallest that uint8 images
    can have. Identical 32x32 grey ones have 78.2 dB, identical 512x512 colour ones 107.1.

    Luma is that of MATLAB's ``rgb2ycbcr``, but not rounded, as in BasicSR; of grey images their values.

    Args:
        border: pixels left out along each edge; by custom the scale of a super-resolution.
    """

    primary_score = "rmse_y"

    def __init__(self, border: int) -> None:
        self._border = _checked(border)

    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        scores = _in_colour_and_luma("psnr", psnr, fakes, reals, self._border)
        return {**scores, "rmse_y": LEVELS / 10 ** (scores["psnr_y"] / 20)}


class SSIM(FullReferenceMetric):
    """``ssim`` (see :func:`gan_lab.metrics.ssim.ssim`), the mean over channels, and ``ssim_y`` of the luma.

    Args:
        border: as of :class:`PSNR`.
    """

    def __init__(self, border: int) -> None:
        self._border = _checked(border)

    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        return _in_colour_and_luma("ssim", ssim, fakes, reals, self._border)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """``[N]`` of images ``[N, C, H, W]`` in [0, 255]; identical ones as :class:`PSNR` says."""
    errors = (a - b).square().flatten(1).mean(1)
    return 10 * torch.log10(LEVELS**2 / errors.clamp_min(1 / a[0].numel()))


def luma(images: Tensor) -> Tensor:
    """``[N, 3, H, W]`` in [0, 255] to ``[N, 1, H, W]`` float64 in [16, 235]; grey images as they are."""
    images = images.double()
    if images.shape[1] == 1:
        return images
    weight = torch.tensor(LUMA, dtype=torch.float64, device=images.device) / LEVELS
    return (images * weight.view(1, 3, 1, 1)).sum(1, keepdim=True) + 16


def _in_colour_and_luma(
    name: str, score: Callable[[Tensor, Tensor], Tensor], fakes: Tensor, reals: Tensor, border: int
) -> dict[str, Tensor]:
    """In float64, inside of the border."""
    height, width = fakes.shape[2:]
    if min(height, width) <= 2 * border:
        raise ValueError(f"{name}: {border=} leaves nothing of images of {height}x{width}")
    a, b = (side[:, :, border : height - border, border : width - border] for side in (fakes, reals))
    return {name: score(a.double(), b.double()), f"{name}_y": score(luma(a), luma(b))}


def _checked(border: int) -> int:
    if border < 0:
        raise ValueError(f"pairs: {border=} must not be negative")
    return border
