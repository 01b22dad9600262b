"""How large the images are at the moment: growth is a function of the images seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from gan_lab.data.loader import Batch
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.utils.image_ops import upsample_nearest


@dataclass(frozen=True)
class GrowthState:
    """One moment of the growth.

    Attributes:
        size: side of the images.
        alpha: share of the newest layers, in [0, 1]: below 1 while they are faded in.
        batch_size: real images in a step.
        rate: factor of the learning rates.
    """

    resolution: int
    alpha: float
    batch_size: int
    lr_factor: float

    @property
    def layers(self) -> tuple[int, bool]:
        """What moments with the same set of layers have in common: the size, and whether the newest are being faded in."""
        return self.resolution, self.alpha < 1.0

    def match_resolution(self, batch: Batch) -> Batch:
        """The batch at this size. While new layers fade in, so do the reals' finest details (Karras et al. 2018, section 2)."""
        batch = batch.at(self.resolution)
        if self.alpha == 1.0:
            return batch
        return batch._replace(
            real=torch.lerp(upsample_nearest(avg_pool2d(batch.real, 2), self.resolution), batch.real, self.alpha)
        )


class FixedResolution:
    """Full size from the start."""

    reset_optimizer = False

    def __init__(self, size: int, batch_size: int) -> None:
        self._stage = GrowthState(size, 1.0, batch_size, 1.0)

    def state_at(self, images: int) -> GrowthState:
        return self._stage

    def apply(self, stage: GrowthState, networks: Iterable[nn.Module]) -> None:
        """Nothing grows."""

    def metrics(self, stage: GrowthState) -> dict[str, float]:
        return {}


class ProgressiveGrowing:
    """Each size is trained for ``stable_kimg``, then the next fades in during ``fade_kimg`` (Karras et al. 2018, appendix A.1).

    Args:
        sizes: those the networks grow through.
        batch_size: real images in a step at the full size. Half the size takes twice as many, but at most ``max_batch_size``.
        total_images: of the training.
        fade_kimg, stable_kimg: thousands of images; 600 and 600 in the published runs. Both None: equal ones, such that the
            last layers are faded in at ``grown_at``.
        grown_at: share of the training, in (0, 1].
        max_batch_size: see ``batch_size``.
        lr_factors: pairs ``[size, factor]``: from that size on the learning rates are multiplied by the factor.
        start_resolution: the first size; None: the smallest.
        reset_optimizer: whether optimizers begin anew with each set of layers, as published.
    """

    def __init__(
        self,
        resolutions: Sequence[int],
        batch_size: int,
        total_images: int,
        fade_kimg: float | None = None,
        stable_kimg: float | None = None,
        grown_at: float = 0.6,
        max_batch_size: int = 128,
        lr_factors: list[list[float]] | None = None,
        start_resolution: int | None = None,
        reset_optimizer: bool = True,
    ) -> None:
        if max_batch_size < 1 or not 0 < grown_at <= 1:
            raise ValueError(f"model.growth: {max_batch_size=} must be at least 1 and {grown_at=} lie in (0, 1]")
        if start_resolution is not None and start_resolution not in resolutions:
            raise ValueError(
                f"model.growth.start_resolution={start_resolution}: must be one of {', '.join(map(str, resolutions))}"
            )
        if (fade_kimg is None) != (stable_kimg is None):
            raise ValueError("model.growth: fade_kimg and stable_kimg are given both or neither")
        self._resolutions = list(resolutions[0 if start_resolution is None else resolutions.index(start_resolution) :])
        if fade_kimg is None or stable_kimg is None:
            fade_kimg = stable_kimg = grown_at * total_images / 1000 / max(1, len(self._resolutions) - 1) / 2
        if fade_kimg < 0 or stable_kimg < 0 or fade_kimg + stable_kimg == 0:
            raise ValueError(f"model.growth: {fade_kimg=} and {stable_kimg=} must not be negative, nor both 0")
        self._fade, self._stable = round(fade_kimg * 1000), round(stable_kimg * 1000)
        if self._fade + self._stable == 0:
            raise ValueError(f"model.growth: {fade_kimg=} and {stable_kimg=} are less than an image")
        self.fade_kimg, self.stable_kimg = self._fade / 1000, self._stable / 1000
        if any(len(pair) != 2 for pair in lr_factors or []):
            raise ValueError(
                f"model.growth.lr_factors={lr_factors}: pairs of a size and a factor, such as [[128, 1.5], [256, 2.0]]"
            )
        self.reset_optimizer = reset_optimizer
        self._batch_size = batch_size
        self._largest_batch = max(1, max_batch_size // batch_size) * batch_size  # a multiple: parts of a batch stay equal
        self._rates = sorted(lr_factors or [])

    def state_at(self, images: int) -> GrowthState:
        """The stage of the step that begins after ``images`` images."""
        level, within = divmod(images, self._stable + self._fade)  # whole numbers: a stage begins at one image exactly
        faded = 1.0
        if within >= self._stable:
            level, faded = level + 1, (within - self._stable) / self._fade
        if level >= len(self._resolutions):
            level, faded = len(self._resolutions) - 1, 1.0
        size = self._resolutions[level]
        batch_size = min(self._batch_size * (self._resolutions[-1] // size), self._largest_batch)
        return GrowthState(size, faded, batch_size, next((rate for start, rate in reversed(self._rates) if size >= start), 1.0))

    def apply(self, stage: GrowthState, networks: Iterable[nn.Module]) -> None:
        """Bring networks to a stage."""
        for network in networks:
            assert isinstance(network, ProgressiveNetwork)
            network.set_resolution(stage.resolution, stage.alpha)

    def metrics(self, stage: GrowthState) -> dict[str, float]:
        """What is logged of a stage."""
        return {"growth/resolution": stage.resolution, "growth/alpha": stage.alpha, "growth/batch_size": stage.batch_size}


Growth = FixedResolution | ProgressiveGrowing
