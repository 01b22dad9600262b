"""Full-reference metrics: compare each image with its original, as in super-resolution.

A metric is called as ``metric(fakes, reals)`` with two uint8 tensors ``[N, C, H, W]``, C = 1 or 3, in which ``reals[n]`` is the
original of ``fakes[n]``. Call it once for each image size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gan_lab.metrics.base import ConfiguredMetric
from gan_lab.metrics.ssim import LEVELS, WINDOW, ssim

LUMA = (65.481, 128.553, 24.966)
"""Weights of R, G and B in [0, 1] for the luma of ITU-R BT.601 in [16, 235]: ``16 + sum``."""
BLOCK_VALUES = 2**22
"""Values of ``fakes`` that are compared at a time."""


class FullReferenceMetric(ConfiguredMetric, ABC):
    """A comparison of images with their originals.

    Attributes:
        min_size: smallest height and width in pixels.
    """

    min_size: int = 1

    def __call__(self, fakes: Tensor, reals: Tensor) -> dict[str, float]:
        """Mean scores over the images.

        Raises:
            ValueError: the shapes differ, there are no images, or they are too small.
        """
        if fakes.shape != reals.shape or not len(fakes):
            sizes = ["x".join(map(str, side.shape[1:])) for side in (fakes, reals)]
            raise ValueError(
                "full-reference metrics need as many fakes as reals, of the same size, not "
                f"{len(fakes)} fakes of {sizes[0]} and {len(reals)} reals of {sizes[1]}"
            )
        rows = max(1, BLOCK_VALUES // fakes[0].numel())
        parts = [self.scores_per_image(*part) for part in zip(fakes.split(rows), reals.split(rows), strict=True)]
        return {name: torch.cat([part[name] for part in parts]).mean(dtype=torch.float64).item() for name in parts[0]}

    @abstractmethod
    def scores_per_image(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        """``[N]`` values of each score."""

    def to(self, device: torch.device) -> None:
        """Move the metric's network, if it has one, to ``device``."""


class BorderedMetric(FullReferenceMetric):
    """A metric of the pixels inside of a border.

    Args:
        border: pixels left out along each edge; usually the scale of the super-resolution.

    Raises:
        ValueError: ``border`` is negative.
    """

    window = 1
    """Pixels a side that are needed inside of the border."""

    def __init__(self, border: int) -> None:
        if border < 0:
            raise ValueError(f"evaluation.{border=}: must not be negative")
        self._border, self.min_size = border, self.window + 2 * border

    def settings(self) -> str:
        return f"border={self._border}"


class PSNR(BorderedMetric):
    """Peak signal-to-noise ratio: ``psnr``, ``psnr_y`` and ``rmse_y``.

    - ``psnr``: ``10 log10(255^2 / MSE)`` in dB over all values of the image
    - ``psnr_y``: the same of the luma (MATLAB's ``rgb2ycbcr`` without rounding, as in BasicSR), or of gray images as they are
    - ``rmse_y``: root mean squared error of the luma in gray levels; lower is better, so it can represent a run

    The mean over images is taken in dB, as in BasicSR. To keep identical images finite, the MSE is at least that of an error of
    one level in one value: 78.2 dB for 32x32 gray images, 107.1 dB for 512x512 color images.
    """

    primary_score = "rmse_y"

    def scores_per_image(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        scores = _on_color_and_luma("psnr", psnr, fakes, reals, self._border)
        return {**scores, "rmse_y": LEVELS / 10 ** (scores["psnr_y"] / 20)}


class SSIM(BorderedMetric):
    """``ssim``, the mean of :func:`gan_lab.metrics.ssim.ssim` over channels, and ``ssim_y``, that of the luma."""

    window = WINDOW

    def scores_per_image(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        return _on_color_and_luma("ssim", ssim, fakes, reals, self._border)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """PSNR in dB, ``[N]``, of images ``[N, C, H, W]`` in [0, 255]; finite for identical images, see :class:`PSNR`."""
    errors = (a - b).square().flatten(1).mean(1)
    return 10 * torch.log10(LEVELS**2 / errors.clamp_min(1 / a[0].numel()))


def luma(images: Tensor) -> Tensor:
    """RGB images ``[N, 3, H, W]`` in [0, 255] to luma ``[N, 1, H, W]``, float64 in [16, 235]; gray images are unchanged."""
    images = images.double()
    if images.shape[1] == 1:
        return images
    weight = torch.tensor(LUMA, dtype=torch.float64, device=images.device) / LEVELS
    return (images * weight.view(1, 3, 1, 1)).sum(1, keepdim=True) + 16


def _on_color_and_luma(
    name: str, score: Callable[[Tensor, Tensor], Tensor], fakes: Tensor, reals: Tensor, border: int
) -> dict[str, Tensor]:
    """``<name>`` of all channels and ``<name>_y`` of the luma, in float64, without the border."""
    height, width = fakes.shape[2:]
    if min(height, width) <= 2 * border:
        raise ValueError(f"{name}: {border=} leaves nothing of images of {height}x{width} pixels")
    a, b = (side[:, :, border : height - border, border : width - border] for side in (fakes, reals))
    return {name: score(a.double(), b.double()), f"{name}_y": score(luma(a), luma(b))}
