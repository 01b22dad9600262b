"""Averages of the generator's weights, from which images are sampled."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class NoEMA:
    """The generator itself: sampled in evaluation mode and put back as it was.

    Attributes:
        network: what is sampled.
    """

    def __init__(self, generator: nn.Module) -> None:
        self.network = generator

    def update(self, images: int, batch: int) -> None:
        """Nothing to average."""

    @contextmanager
    def eval_mode(self) -> Iterator[nn.Module]:
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                yield self.network
        finally:
            self.network.train(training)

    def state_dict(self) -> dict[str, Any]:
        """The generator's own state: whoever samples from a checkpoint finds the sampling weights under one name."""
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing of its own to load."""


class ExponentialMovingAverage:
    """Exponential moving average with a half-life counted in images (Karras et al. 2020, StyleGAN2-ADA's training loop).

    Floating-point buffers (BatchNorm's running statistics) are averaged like the weights, as in BigGAN, so that both
    belong together; integer buffers are copied.

    Args:
        generator: the network averaged; a copy of it holds the average.
        kimg: half-life in thousands of images.
        rampup: the half-life is at most this share of the images seen so far, so that early images don't linger.

    Attributes:
        network: the average.
    """

    def __init__(self, generator: nn.Module, kimg: float, rampup: float) -> None:
        if kimg <= 0 or rampup <= 0:
            raise ValueError(f"kimg={kimg}, rampup={rampup}: both must be positive; ema=none samples the generator itself")
        self._halflife, self._rampup = kimg * 1000, rampup
        self.network = copy.deepcopy(generator).eval().requires_grad_(False)
        pairs = list(zip(_tensors(self.network), _tensors(generator), strict=True))
        self._floating = [list(side) for side in zip(*(p for p in pairs if p[0].is_floating_point()), strict=True)]
        self._others = [p for p in pairs if not p[0].is_floating_point()]

    @torch.no_grad()
    def update(self, images: int, batch: int) -> None:
        """After a step on ``batch`` images, ``images`` having been seen in all."""
        halflife = min(self._halflife, images * self._rampup)
        average, current = self._floating
        torch._foreach_lerp_(average, current, 1.0 - 0.5 ** (batch / halflife))
        for copied, original in self._others:
            copied.copy_(original)

    @contextmanager
    def eval_mode(self) -> Iterator[nn.Module]:
        with torch.no_grad():
            yield self.network

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state)


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]
