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

    def sample_for_training(self, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """The generator's input in a training step, ``[count, ...]``; by default the latents of :meth:`sample`."""
        return self.sample(count, device, generator)


class MixedLatents(NormalLatents):
    """Latents z ~ N(0, I), and for a training step pairs of them whose styles are mixed (Karras et al. 2019, section 3.1).

    The layers from a random one on get the style of the second vector. Unlike in the authors' code, each image has its own
    random layer, so that splitting a batch changes nothing.

    Args:
        size: length of a vector.
        mixing: probability that an image has two styles.

    Raises:
        ValueError: ``mixing`` is not a probability.
    """

    def __init__(self, size: int, mixing: float) -> None:
        super().__init__(size)
        if not 0 <= mixing <= 1:
            raise ValueError(f"mixing={mixing}: a probability, must lie in [0, 1]")
        self.mixing = mixing

    def sample_for_training(self, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """``[count, 2 * size + 1]``: two vectors, and where the second begins as a fraction of the layers; 1: nowhere."""
        if self.mixing == 0:
            return self.sample(count, device, generator)
        pairs = self.sample(2 * count, device, generator).view(count, -1)
        uniform = torch.rand(2, count, 1, generator=generator, device=generator.device).to(device)
        return torch.cat([pairs, torch.where(uniform[0] < self.mixing, uniform[1], 1.0)], 1)


class NoLatents:
    """For super-resolution generators, whose input is an image."""

    size = 0

    def sample(
        self, count: int, device: torch.device, generator: torch.Generator | None = None, truncation: float | None = None
    ) -> Tensor:
        """Raise ValueError: there are no latents."""
        raise ValueError("this generator enlarges images: give it some by input=...")

    def sample_for_training(self, count: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """Raise ValueError: there are no latents."""
        return self.sample(count, device, generator)


def _truncated(count: int, size: int, bound: float, generator: torch.Generator | None) -> Tensor:
    if not 0 < bound < math.inf:
        raise ValueError(f"truncation={bound}: must be positive and finite")
    inside = math.erf(bound / math.sqrt(2))  # probability that a normal value lies within the bound
    uniform = torch.rand(count, size, generator=generator, dtype=torch.float64) * 2 - 1
    return (math.sqrt(2) * torch.erfinv(inside * uniform)).float()
