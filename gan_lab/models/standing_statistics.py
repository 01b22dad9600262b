"""Standing statistics: batch norm statistics recomputed for sampling (Brock et al. 2019, appendix D)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gan_lab.models.base import Generator


def accumulate_standing_statistics(
    generator: Generator, draw: Callable[[int], tuple[Tensor, Tensor | None]], num_batches: int, batch_size: int
) -> bool:
    """Replace the running statistics of every batch norm by their means over new batches.

    The statistics from training belong to earlier weights, or to averages of weights, and to latents without truncation.

    Args:
        generator: in evaluation mode; it stays in it.
        draw: returns latents and labels for a number of images.
        num_batches: number of batches to average over; 100 in BigGAN.
        batch_size: images in a batch.

    Returns:
        Whether the generator has any batch norm.
    """
    norms = [m for m in generator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if norms:
        with _cumulative_average(norms), torch.no_grad():
            for _ in range(num_batches):
                generator(*draw(batch_size))
    return bool(norms)


@contextmanager
def _cumulative_average(norms: list[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # in PyTorch: a cumulative average
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
