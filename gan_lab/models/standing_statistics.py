"""Standing statistics: batch normalisation measured anew for the images to be drawn (Brock et al. 2019, appendix D)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gan_lab.models.base import Generator


def accumulate_standing_statistics(
    generator: Generator, draw: Callable[[int], tuple[Tensor, Tensor | None]], count: int, batch: int
) -> bool:
    """Replace the running statistics of every batch normalisation by the means over fresh batches.

    Those collected in training belong to weights that have moved on, or to averages of them, and to untruncated latents.

    Args:
        generator: in evaluation mode; it stays so.
        draw: a number of images to latents and labels.
        count: batches to average over; BigGAN takes 100.
        batch: images in a batch.

    Returns:
        Whether there was any batch normalisation.
    """
    norms = [m for m in generator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if norms:
        with _cumulative(norms), torch.no_grad():
            for _ in range(count):
                generator(*draw(batch))
    return bool(norms)


@contextmanager
def _cumulative(norms: list[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's name for a cumulative average
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
