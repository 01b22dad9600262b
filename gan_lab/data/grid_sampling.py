"""Bilinear sampling of images at a grid of positions, differentiable twice and, if asked for, deterministic on CUDA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

BILINEAR, REFLECTION = 0, 2
"""ATen's numbers for the interpolation and padding modes."""


def sample_bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """Sample images ``[N, C, H, W]`` at positions ``[N, h, w, 2]``; reflected beyond the borders.

    Args:
        images: float32 or float64; the result is differentiable with respect to them any number of times.
        grid: (x, y), where -1 and 1 are the centers of the outermost pixels; no gradient flows to it.

    Returns:
        ``[N, C, h, w]``.
    """
    return _Sample.apply(images, grid)


class _Sample(torch.autograd.Function):
    """``grid_sample`` and, as its gradient, its transpose.

    PyTorch can't differentiate its own gradient of ``grid_sample`` again. Sampling is linear in the images, so its gradient is
    the transpose, whose gradient is sampling; neither needs the images.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Scatter.apply(gradients[0], grid, ctx.shape), None


class _Scatter(torch.autograd.Function):
    """The transpose of :class:`_Sample`: values ``[N, C, h, w]`` are added up where they were sampled from."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        if values.is_cuda and torch.are_deterministic_algorithms_enabled():
            return scatter_deterministic(values, grid, shape)
        images = values.new_zeros(shape)  # their values matter to the grid's gradient only, which is not asked for
        return torch.ops.aten.grid_sampler_2d_backward(values, images, grid, BILINEAR, REFLECTION, True, [True, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradients[0], grid), None, None


def scatter_deterministic(values: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
    """``grid_sample``'s gradient for the images by ``index_add_``, which CUDA can compute in a fixed order.

    Args:
        values: gradient of the samples, ``[N, C, h, w]``.
        grid: ``[N, h, w, 2]``, as of :func:`sample_bilinear`.
        shape: of the images, ``[N, C, H, W]``.
    """
    count, channels, height, width = shape
    x, y = _reflect(grid[..., 0], width), _reflect(grid[..., 1], height)
    left, top = x.floor(), y.floor()
    first_of_image = torch.arange(count, device=grid.device)[:, None, None] * (height * width)
    columns = values.movedim(1, -1)
    images = values.new_zeros(count * height * width, channels)
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            inside = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)  # beyond the border the weight is 0
            index = (first_of_image + inside.long()).flatten()
            images.index_add_(0, index, (columns * (row_weight * column_weight)[..., None]).flatten(0, 2))
    return images.unflatten(0, (count, height, width)).movedim(-1, 1).contiguous()


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Positions in [-1, 1] as pixel coordinates in [0, size - 1], reflected at the centers of the outermost pixels."""
    last = size - 1
    if last == 0:
        return torch.zeros_like(positions)
    pixels = ((positions + 1) / 2 * last).abs() % (2 * last)
    return torch.minimum(pixels, 2 * last - pixels)
