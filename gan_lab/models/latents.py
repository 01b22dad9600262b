"""Where the generator's input comes from."""

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
            count: how many.
            device: where they go.
            generator: whose numbers are drawn; one on the CPU makes the draw the same on every device.
            truncation: values come from the normal distribution cut off at +- this (Brock et al. 2019, section 3.1): fewer odd
                images, and less variety.

        Raises:
            ValueError: ``truncation`` is not positive.
        """
        if truncation is not None:
            return _truncated(count, self.size, truncation, generator).to(device)
        if generator is None:
            return torch.randn(count, self.size, device=device)
        return torch.randn(count, self.size, generator=generator, device=generator.device).to(device)


class NoLatents:
    """A generator that is given pictures draws nothing."""

    size = 0

    def sample(
        self, count: int, device: torch.device, generator: torch.Generator | None = None, truncation: float | None = None
    ) -> Tensor:
        """Raise ValueError: there is nothing to draw from."""
        raise ValueError("this generator enlarges pictures: give it some by input=...")


def _truncated(count: int, size: int, bound: float, generator: torch.Generator | None) -> Tensor:
    if not 0 < bound < math.inf:
        raise ValueError(f"truncation={bound}: must be positive and finite")
    share = math.erf(bound / math.sqrt(2))  # of the normal distribution that lies within the bound
    uniform = torch.rand(count, size, generator=generator, dtype=torch.float64) * 2 - 1
    return (math.sqrt(2) * torch.erfinv(share * uniform)).float()
