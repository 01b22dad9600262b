"""What is measured of a generator, and under which protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_lab.data.images import ImageSet
from gan_lab.metrics.features import RandomConvolutions
from gan_lab.metrics.frechet import Statistics, frechet_distance

Generate = Callable[[int, torch.Generator], Tensor]
"""``(count, generator) -> uint8 images [count, C, H, W]``: samples from latents drawn with ``generator``."""


class NoEvaluation:
    """Measures nothing; the run then has no best checkpoint."""

    score_name: str | None = None

    def prepare(self, reals: ImageSet, device: torch.device) -> None:
        """No reference needed."""

    def __call__(self, generate: Generate) -> dict[str, float]:
        return {}

    def protocol(self) -> dict[str, Any]:
        return {}


class FrechetEvaluation:
    """Frechet distance between fakes and training images.

    Args:
        features: the network.
        num_fakes: images generated for a score.
        num_reals: training images compared with, a random choice by ``seed`` where there are more.
        batch_size: images at a time.
        seed: of the latents, the same for every score of a run.
    """

    def __init__(self, features: RandomConvolutions, num_fakes: int, num_reals: int, batch_size: int, seed: int) -> None:
        if num_fakes < 2 or num_reals < 2 or batch_size < 1:
            raise ValueError(f"evaluation: {num_fakes=}, {num_reals=} and {batch_size=} must be at least 2, 2 and 1")
        self.score_name = f"fd_{features.name}"
        self._features, self._num_fakes, self._batch_size, self._seed = features, num_fakes, batch_size, seed
        self._max_reals = num_reals
        self._num_reals = 0
        self._reference: Statistics | None = None

    @torch.no_grad()
    def prepare(self, reals: ImageSet, device: torch.device) -> None:
        """Take the reference statistics."""
        self._device = device
        self._features.to(device)
        if len(reals) < 2:
            raise ValueError("evaluation: a covariance needs at least 2 real images; evaluation=none goes without a score")
        reals = reals.limited(self._max_reals, self._seed)
        self._num_reals = len(reals)
        self._reference = Statistics(self._features.num_features)
        for start in range(0, len(reals), self._batch_size):
            self._reference.add(self._features(reals.images(slice(start, start + self._batch_size)).to(device)))

    @torch.no_grad()
    def __call__(self, generate: Generate) -> dict[str, float]:
        assert self._reference is not None, "prepare() comes first"
        generator = torch.Generator().manual_seed(self._seed)
        fakes = Statistics(self._features.num_features)
        for start in range(0, self._num_fakes, self._batch_size):
            count = min(self._batch_size, self._num_fakes - start)
            fakes.add(self._features(generate(count, generator)))
        return {self.score_name: frechet_distance(fakes, self._reference)}

    def protocol(self) -> dict[str, Any]:
        """What has to be the same before two scores may be compared, besides the data and the generator."""
        return {
            "features": self._features.description,
            "resize": "none",
            "fakes": f"{self._num_fakes}, latents of seed {self._seed}",
            "reals": f"{self._num_reals} training images",
            "batch_norm": "running statistics",
        }
