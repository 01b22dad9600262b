"""How large the images are at the moment: growth is a function of the images seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from gan_lab.data.loader import Batch
from gan_lab.models.base import Growing
from gan_lab.utils.image_ops import enlarged


@dataclass(frozen=True)
class Stage:
    """One moment of the growth.

    Attributes:
        size: side of the images.
        alpha: share of the newest layers, in [0, 1]: below 1 while they are faded in.
        batch_size: real images in a step.
        rate: factor of the learning rates.
    """

    size: int
    alpha: float
    batch_size: int
    rate: float

    @property
    def layers(self) -> tuple[int, bool]:
        """What moments with the same set of layers have in common: the size, and whether the newest are being faded in."""
        return self.size, self.alpha < 1.0

    def show(self, batch: Batch) -> Batch:
        """The batch at this size. While new layers fade in, so do the reals' finest details (Karras et al. 2018, section 2)."""
        batch = batch.at(self.size)
        if self.alpha == 1.0:
            return batch
        return batch._replace(real=torch.lerp(enlarged(avg_pool2d(batch.real, 2), self.size), batch.real, self.alpha))


class NoGrowth:
    """Full size from the start."""

    reset_optimizer = False

    def __init__(self, size: int, batch_size: int) -> None:
        self._stage = Stage(size, 1.0, batch_size, 1.0)

    def at(self, images: int) -> Stage:
        return self._stage

    def apply(self, stage: Stage, networks: Iterable[nn.Module]) -> None:
        """Nothing grows."""

    def figures(self, stage: Stage) -> dict[str, float]:
        return {}


class Progressive:
    """Each size is trained for ``stable_kimg``, then the next fades in during ``fade_kimg`` (Karras et al. 2018, appendix A.1).

    Args:
        sizes: those the networks grow through.
        batch_size: real images in a step at the full size. Half the size takes twice as many, but at most ``largest_batch``.
        total_images: of the training.
        fade_kimg, stable_kimg: thousands of images; 600 and 600 in the published runs. Both None: equal ones, such that the
            last layers are faded in at ``grown_at``.
        grown_at: share of the training, in (0, 1].
        largest_batch: see ``batch_size``.
        rates: pairs ``[size, factor]``: from that size on the learning rates are multiplied by the factor.
        start_size: the first size; None: the smallest.
        reset_optimizer: whether optimizers begin anew with each set of layers, as published.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        total_images: int,
        fade_kimg: float | None = None,
        stable_kimg: float | None = None,
        grown_at: float = 0.6,
        largest_batch: int = 128,
        rates: list[list[float]] | None = None,
        start_size: int | None = None,
        reset_optimizer: bool = True,
    ) -> None:
        if largest_batch < 1 or not 0 < grown_at <= 1:
            raise ValueError(f"model.growth: {largest_batch=} must be at least 1 and {grown_at=} lie in (0, 1]")
        if start_size is not None and start_size not in sizes:
            raise ValueError(f"model.growth.start_size={start_size}: must be one of {', '.join(map(str, sizes))}")
        if (fade_kimg is None) != (stable_kimg is None):
            raise ValueError("model.growth: fade_kimg and stable_kimg are given both or neither")
        self._sizes = list(sizes[0 if start_size is None else sizes.index(start_size) :])
        if fade_kimg is None or stable_kimg is None:
            fade_kimg = stable_kimg = grown_at * total_images / 1000 / max(1, len(self._sizes) - 1) / 2
        if fade_kimg < 0 or stable_kimg < 0 or fade_kimg + stable_kimg == 0:
            raise ValueError(f"model.growth: {fade_kimg=} and {stable_kimg=} must not be negative, nor both 0")
        self._fade, self._stable = round(fade_kimg * 1000), round(stable_kimg * 1000)
        if self._fade + self._stable == 0:
            raise ValueError(f"model.growth: {fade_kimg=} and {stable_kimg=} are less than an image")
        self.fade_kimg, self.stable_kimg = self._fade / 1000, self._stable / 1000
        if any(len(pair) != 2 for pair in rates or []):
            raise ValueError(f"model.growth.rates={rates}: pairs of a size and a factor, such as [[128, 1.5], [256, 2.0]]")
        self.reset_optimizer = reset_optimizer
        self._batch_size = batch_size
        self._largest_batch = max(1, largest_batch // batch_size) * batch_size  # a multiple: parts of a batch stay equal
        self._rates = sorted(rates or [])

    def at(self, images: int) -> Stage:
        """The stage of the step that begins after ``images`` images."""
        level, within = divmod(images, self._stable + self._fade)  # whole numbers: a stage begins at one image exactly
        faded = 1.0
        if within >= self._stable:
            level, faded = level + 1, (within - self._stable) / self._fade
        if level >= len(self._sizes):
            level, faded = len(self._sizes) - 1, 1.0
        size = self._sizes[level]
        batch_size = min(self._batch_size * (self._sizes[-1] // size), self._largest_batch)
        return Stage(size, faded, batch_size, next((rate for start, rate in reversed(self._rates) if size >= start), 1.0))

    def apply(self, stage: Stage, networks: Iterable[nn.Module]) -> None:
        """Bring networks to a stage."""
        for network in networks:
            assert isinstance(network, Growing)
            network.grow(stage.size, stage.alpha)

    def figures(self, stage: Stage) -> dict[str, float]:
        """What is logged of a stage."""
        return {"growth/size": stage.size, "growth/alpha": stage.alpha, "growth/batch_size": stage.batch_size}


Growth = NoGrowth | Progressive
