"""The exponential moving average of the generator's weights, from which images are sampled."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class NoEMA:
    """No average: the generator itself is sampled, in evaluation mode, and then returns to training mode.

    Attributes:
        network: the generator.
    """

    def __init__(self, generator: nn.Module) -> None:
        self.network = generator

    def set_progress(self, images: int, batch: int) -> None:
        """Does nothing."""

    def update(self) -> None:
        """Does nothing."""

    @contextmanager
    def eval_mode(self) -> Iterator[nn.Module]:
        """The network to sample, in evaluation mode and without gradients."""
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                yield self.network
        finally:
            self.network.train(training)

    def state_dict(self) -> dict[str, Any]:
        """The generator's weights, so that every checkpoint has the sampling weights under the same name."""
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Does nothing; the updater loads the generator's weights."""


class ExponentialMovingAverage:
    """Exponential moving average with a half-life in images (Karras et al. 2020, the training loop of StyleGAN2-ADA).

    Floating-point buffers (running statistics of batch norm) are averaged like the weights, as in BigGAN, so that they match
    them; integer buffers are copied.

    Args:
        generator: the network that is averaged; a copy of it holds the average.
        kimg: half-life in thousands of images.
        rampup: the half-life is at most this fraction of the images seen so far, so that early weights decay quickly; None: no
            such bound.

    Attributes:
        network: the average.
    """

    def __init__(self, generator: nn.Module, kimg: float, rampup: float | None) -> None:
        if kimg <= 0 or (rampup is not None and rampup <= 0):
            raise ValueError(
                f"ema.kimg={kimg}, ema.rampup={rampup}: both must be positive; ema=none samples the generator itself"
            )
        self._halflife, self._rampup = kimg * 1000, math.inf if rampup is None else rampup
        self.network = copy.deepcopy(generator).eval().requires_grad_(False)
        pairs = list(zip(_tensors(self.network), _tensors(generator), strict=True))
        self._floating = [list(side) for side in zip(*(p for p in pairs if p[0].is_floating_point()), strict=True)]
        self._copied = [p for p in pairs if not p[0].is_floating_point()]
        self._weight = self._floating[0][0].new_zeros(())

    def set_halflife(self, kimg: float) -> None:
        """Change the half-life; 0 copies the generator's weights."""
        self._halflife = kimg * 1000

    def set_progress(self, images: int, batch: int) -> None:
        """Set the weight of the next update, for a step on ``batch`` images; ``images`` is the number seen including them."""
        halflife = min(self._halflife, images * self._rampup)
        self._weight.fill_(1.0 - 0.5 ** (batch / halflife) if halflife else 1.0)

    @torch.no_grad()
    def update(self) -> None:
        """``average += weight * (current - average)``; the weight is a tensor, so that a CUDA graph reads its current value."""
        average, current = self._floating
        if self._weight.is_cuda:  # three launches for all tensors; lerp with a tensor as weight needs one for each
            difference = torch._foreach_sub(current, average)
            torch._foreach_mul_(difference, self._weight)
            torch._foreach_add_(average, difference)
        else:
            torch._foreach_lerp_(average, current, [self._weight] * len(average))
        for copied, original in self._copied:
            copied.copy_(original)

    @contextmanager
    def eval_mode(self) -> Iterator[nn.Module]:
        """The average, which is always in evaluation mode, without gradients."""
        with torch.no_grad():
            yield self.network

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state)


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
