"""Latent vectors: the random input of a generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class NormalLatents:
    """Latent vectors z ~ N(0, I).

    Args:
        size: length of a vector.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def sample(
        self, count: int, device: torch.device, generator: torch.Generator | None = None, truncation: float | None = None
    ) -> Tensor:
        """Latents ``[count, size]``, float32.

        Args:
            count: number of vectors.
            device: of the result.
            generator: random number generator; one on the CPU gives the same latents on every device.
            truncation: values come from the normal distribution truncated to +- this (Brock et al. 2019, section 3.1), which
                trades variety for quality.

        Raises:
            ValueError: ``truncation`` is not positive.
        """
        if truncation is not None:
            return _truncated(count, self.size, truncation, generator).to(device)
        if generator is None:
            return torch.randn(count, self.size, device=device)
        return torch.randn(count, self.size, generator=generator, device=generator.device).to(device)


class NoLatents:
    """For super-resolution generators, whose input is an image."""

    size = 0

    def sample(
        self, count: int, device: torch.device, generator: torch.Generator | None = None, truncation: float | None = None
    ) -> Tensor:
        """Raise ValueError: there are no latents."""
        raise ValueError("this generator enlarges images: give it some by input=...")


def _truncated(count: int, size: int, bound: float, generator: torch.Generator | None) -> Tensor:
    if not 0 < bound < math.inf:
        raise ValueError(f"truncation={bound}: must be positive and finite")
    inside = math.erf(bound / math.sqrt(2))  # probability that a normal value lies within the bound
    uniform = torch.rand(count, size, generator=generator, dtype=torch.float64) * 2 - 1
    return (math.sqrt(2) * torch.erfinv(inside * uniform)).float()
