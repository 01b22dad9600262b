"""SSIM, structural similarity (Wang et al. 2004), and MS-SSIM, on several scales (Wang et al. 2003).

The constants are those of the papers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

WINDOW = 11
"""Size of the Gaussian window in pixels, and the smallest size of images."""
SIGMA = 1.5
"""Standard deviation of the window in pixels."""
LEVELS = 255.0
"""Range of pixel values, ``L`` in the papers."""
STABILIZERS = ((0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2)
"""``(K L)^2`` for luminance and for contrast, which avoid a division by 0."""
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first (Wang et al. 2003, section 3.2); as published, they sum to 1.0001."""


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of ``a[n]`` and ``b[n]``, in [-1, 1]; mean over positions and channels.

    Only positions with the whole window inside the image count. Equals the authors' MATLAB code, and scikit-image with
    ``gaussian_weights=True, use_sample_covariance=False``.

    Args:
        a, b: ``[N, C, H, W]`` in [0, 255]; float32 is accurate to 1e-4, float64 exact.

    Returns:
        ``[N]``.

    Raises:
        ValueError: the shapes differ, or the images are smaller than :data:`WINDOW`.
    """
    _check(a, b)
    return _compare(a, b)[0].mean(1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of ``a[n]`` and ``b[n]``, in [0, 1]; mean over channels.

    The product of contrast and structure on every scale and of luminance on the coarsest. Images have five scales from 161
    pixels on and fewer below (:func:`scales`), with the weights of the finest scales normalized to sum 1; scores with different
    numbers of scales are not comparable. Negative means of a scale count as 0. Images are downscaled by averaging 2x2 pixels;
    an odd last row or column is averaged with itself, as in the authors' code. For sizes that stay even, this equals
    ``pytorch_msssim.ms_ssim``.

    Arguments, return value and errors are those of :func:`ssim`.
    """
    _check(a, b)
    count = scales(*a.shape[2:])
    weights = WEIGHTS if count == len(WEIGHTS) else [w / sum(WEIGHTS[:count]) for w in WEIGHTS[:count]]
    product = torch.ones_like(a[:, :, 0, 0])
    for scale, weight in enumerate(weights, 1):
        similarity, contrast = _compare(a, b)
        product = product * (similarity if scale == count else contrast).relu() ** weight
        a, b = (avg_pool2d(side, 2, ceil_mode=True) for side in (a, b))
    return product.mean(1)


def scales(height: int, width: int) -> int:
    """Number of scales of :func:`ms_ssim`, 0 to 5: those on which the image is at least as large as the window."""
    count, side = 0, min(height, width)
    while side >= WINDOW and count < len(WEIGHTS):
        count, side = count + 1, (side + 1) // 2
    return count


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"SSIM compares images of equal shape, not {list(a.shape)} and {list(b.shape)}")
    if scales(*a.shape[2:]) == 0:
        raise ValueError(f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, not {list(a.shape[2:])}")


def _compare(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM (eq. 13 of the 2004 paper) and its factor of contrast and structure, without luminance; ``[N, C]`` each."""
    center = LEVELS / 2
    a, b = a - center, b - center  # smaller squares, less cancellation in the variances
    mean_a, mean_b, squares, product = _blur(torch.stack((a, b, a * a + b * b, a * b)))
    variances = squares - mean_a * mean_a - mean_b * mean_b
    covariance = product - mean_a * mean_b
    mean_a, mean_b = mean_a + center, mean_b + center
    c1, c2 = STABILIZERS
    contrast = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return (luminance * contrast).mean((2, 3)), contrast.mean((2, 3))


def _blur(maps: Tensor) -> Tensor:
    """Gaussian filter over the last two dimensions, which become ``WINDOW - 1`` smaller.

    Computed as a weighted sum of shifted maps, on a CPU 6 to 30 times as fast as single-channel convolutions.
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
