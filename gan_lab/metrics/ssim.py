"""Structural similarity of two images (SSIM: Wang et al. 2004), and on several scales (MS-SSIM: Wang et al. 2003).

The numbers below are the papers' and part of what the names mean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

WINDOW = 11
"""Pixels of the Gaussian window, across; smaller images have no similarity."""
SIGMA = 1.5
"""Of the window."""
LEVELS = 255.0
"""What the images range over."""
STABILISERS = ((0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2)
"""``(K L)^2`` of luminance and of contrast."""
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, the finest first (Wang et al. 2003, section 3.2); they sum to 1.0001."""


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Of each pair of images, in [-1, 1]; the mean over places and channels.

    Only where the window lies within the image, as the authors' Matlab code and scikit-image with ``gaussian_weights`` and
    without ``use_sample_covariance`` have it.

    Args:
        a, b: ``[N, C, H, W]`` in [0, 255], float32 or, for the last digits, float64.

    Returns:
        ``[N]``.

    Raises:
        ValueError: the shapes differ, or the images are smaller than the window.
    """
    _check(a, b)
    return _compare(a, b)[0].mean(1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Of each pair of images, in [0, 1]: contrast and structure on every scale, luminance on the coarsest; mean over channels.

    Five scales from 161 pixels on, fewer for smaller images: :func:`scales`, with the weights of the finest ones, made to sum
    to 1 (the scores of different sizes are different scores then). A scale's negative mean counts as 0. The next scale is the
    mean of 2x2 pixels; an odd last row or column is averaged with itself, as in the authors' code. Where every halving is even
    this is ``pytorch_msssim.ms_ssim``.

    Args, returns and raises as :func:`ssim`.
    """
    _check(a, b)
    count = scales(*a.shape[2:])
    weights = WEIGHTS if count == len(WEIGHTS) else [w / sum(WEIGHTS[:count]) for w in WEIGHTS[:count]]
    product = torch.ones_like(a[:, :, 0, 0])
    for scale, weight in enumerate(weights, 1):
        whole, contrast = _compare(a, b)
        product = product * (whole if scale == count else contrast).relu() ** weight
        a, b = (avg_pool2d(side, 2, ceil_mode=True) for side in (a, b))
    return product.mean(1)


def scales(height: int, width: int) -> int:
    """How many :func:`ms_ssim` compares such images on: as many as the window fits into, at most five; 0 if none."""
    count, side = 0, min(height, width)
    while side >= WINDOW and count < len(WEIGHTS):
        count, side = count + 1, (side + 1) // 2
    return count


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images of {list(a.shape)} can't be compared with images of {list(b.shape)}")
    if scales(*a.shape[2:]) == 0:
        raise ValueError(f"structural similarity takes images of at least {WINDOW}x{WINDOW} pixels, not {list(a.shape[2:])}")


def _compare(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The similarity, and without luminance, ``[N, C]`` each: eq. 13 of the 2004 paper, and its right-hand factor."""
    grey = LEVELS / 2
    a, b = a - grey, b - grey  # about 0 the squares are a quarter as large, and so is what their differences lose
    mean_a, mean_b, squares, product = _blur(torch.stack((a, b, a * a + b * b, a * b)))
    variances = squares - mean_a * mean_a - mean_b * mean_b
    covariance = product - mean_a * mean_b
    mean_a, mean_b = mean_a + grey, mean_b + grey
    c1, c2 = STABILISERS
    contrast = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return (luminance * contrast).mean((2, 3)), contrast.mean((2, 3))


def _blur(maps: Tensor) -> Tensor:
    """The window over the last two dimensions, each ``WINDOW - 1`` smaller after it.

    A sum of shifted maps: on a CPU six to thirty times as fast as convolutions of a single channel.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    for dim in (-2, -1):
        size = maps.shape[dim] - WINDOW + 1
        blurred = torch.zeros_like(maps.narrow(dim, 0, size))
        for start, weight in enumerate((window / window.sum()).tolist()):
            blurred.add_(maps.narrow(dim, start, size), alpha=weight)
        maps = blurred
    return maps
