"""Progressive growing: resolution, fade-in and batch size as functions of the images seen."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_lab.data.loader import Batch
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.utils.image_ops import upsample_nearest


@dataclass(frozen=True)
class GrowthState:
    """The state of growing networks.

    Attributes:
        resolution: side of the images.
        alpha: weight of the newest layers, in [0, 1]; below 1 while they fade in.
        batch_size: real images in a step.
        lr_factor: factor of the learning rates.
    """

    resolution: int
    alpha: float
    batch_size: int
    lr_factor: float

    @property
    def layers(self) -> tuple[int, bool]:
        """Identifies the layers in use: the resolution, and whether the newest layers are fading in."""
        return self.resolution, self.alpha < 1.0

    def match_resolution(self, batch: Batch, alpha: Tensor | None = None) -> Batch:
        """The batch at this resolution. While layers fade in, details of the reals do so too (Karras et al. 2018, sec. 2).

        Args:
            batch: at the dataset's resolution.
            alpha: scalar tensor that contains ``alpha``, for iterations that are replayed with other values in it.
        """
        batch = batch.at(self.resolution)
        if self.alpha == 1.0:
            return batch
        coarse = upsample_nearest(avg_pool2d(batch.real, 2), self.resolution)
        return batch._replace(real=torch.lerp(coarse, batch.real, self.alpha if alpha is None else alpha))


class FixedResolution:
    """No growth: the full resolution from the start."""

    reset_optimizer = False

    def __init__(self, resolution: int, batch_size: int) -> None:
        self._state = GrowthState(resolution, 1.0, batch_size, 1.0)

    def state_at(self, images: int) -> GrowthState:
        return self._state

    def apply(self, state: GrowthState, networks: Iterable[nn.Module]) -> None:
        """Does nothing."""

    def metrics(self, state: GrowthState) -> dict[str, float]:
        return {}


class ProgressiveGrowing:
    """Trains each resolution for ``stable_kimg``, then fades in the next during ``fade_kimg`` (Karras et al. 2018, app. A.1).

    Args:
        resolutions: of the networks, ascending.
        batch_size: real images in a step at the full resolution. Half the resolution uses twice as many, up to
            ``max_batch_size``.
        total_images: length of the training.
        fade_kimg, stable_kimg: thousands of images; 600 and 600 in the paper. A list has a length for each resolution: the
            fades into the second to the last, the stable stages of the first to the last but one. Both None: equal lengths
            such that the last layers have faded in at ``grown_at``.
        grown_at: fraction of the training, in (0, 1].
        max_batch_size: see ``batch_size``.
        lr_factors: pairs ``[resolution, factor]``: from that resolution on, learning rates are multiplied by the factor.
        start_resolution: the first resolution; None: the smallest, or the largest if nothing is trained.
        reset_optimizer: whether the optimizers' state is reset with each new set of layers, as published.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        resolutions: Sequence[int],
        batch_size: int,
        total_images: int,
        fade_kimg: float | Sequence[float] | None = None,
        stable_kimg: float | Sequence[float] | None = None,
        grown_at: float = 0.6,
        max_batch_size: int = 128,
        lr_factors: list[list[float]] | None = None,
        start_resolution: int | None = None,
        reset_optimizer: bool = True,
    ) -> None:
        if max_batch_size < 1 or not 0 < grown_at <= 1:
            raise ValueError(f"model.growth: {max_batch_size=} must be at least 1 and {grown_at=} in (0, 1]")
        if start_resolution is not None and start_resolution not in resolutions:
            known = ", ".join(map(str, resolutions))
            raise ValueError(f"model.growth.start_resolution={start_resolution}: must be one of {known}")
        if (fade_kimg is None) != (stable_kimg is None):
            raise ValueError("model.growth: give both fade_kimg and stable_kimg, or neither")
        if any(len(pair) != 2 for pair in lr_factors or []):
            raise ValueError(
                f"model.growth.lr_factors={lr_factors}: must be pairs [resolution, factor], such as [[128, 1.5], [256, 2.0]]"
            )
        start = resolutions[0 if total_images else -1] if start_resolution is None else start_resolution
        self._resolutions = list(resolutions[resolutions.index(start) :])
        doublings = len(self._resolutions) - 1
        if doublings and (fade_kimg is None or stable_kimg is None):
            fade_kimg = stable_kimg = grown_at * total_images / 1000 / doublings / 2
        fades, stables = _lengths("fade_kimg", fade_kimg, doublings), _lengths("stable_kimg", stable_kimg, doublings)
        if any(fade + stable == 0 for fade, stable in zip(fades, stables, strict=True)):
            raise ValueError(
                f"model.growth: fade_kimg={fade_kimg} and stable_kimg={stable_kimg} are less than one image at a resolution"
            )
        self.fade_kimg, self.stable_kimg = fade_kimg, stable_kimg
        stages = [length for lengths in zip(stables, fades, strict=True) for length in lengths]  # 4, 4 to 8, 8, 8 to 16, ...
        self._starts = [0, *accumulate(stages)]
        self.reset_optimizer = reset_optimizer
        self._batch_size = batch_size
        self._max_batch_size = max(1, max_batch_size // batch_size) * batch_size  # a multiple, so that micro-batches stay equal
        self._lr_factors = sorted(lr_factors or [])

    def state_at(self, images: int) -> GrowthState:
        """The state for the step that begins after ``images`` images."""
        stage = bisect_right(self._starts, images) - 1
        level, fades = (stage + 1) // 2, stage % 2 == 1
        start, *end = self._starts[stage : stage + 2]
        alpha = (images - start) / (end[0] - start) if fades else 1.0
        resolution = self._resolutions[level]
        batch_size = min(self._batch_size * (self._resolutions[-1] // resolution), self._max_batch_size)
        lr_factor = next((factor for start, factor in reversed(self._lr_factors) if resolution >= start), 1.0)
        return GrowthState(resolution, alpha, batch_size, lr_factor)

    def apply(self, state: GrowthState, networks: Iterable[nn.Module]) -> None:
        """Set networks to a state."""
        for network in networks:
            assert isinstance(network, ProgressiveNetwork)
            network.set_resolution(state.resolution, state.alpha)

    def metrics(self, state: GrowthState) -> dict[str, float]:
        """The metrics that are logged."""
        return {"growth/resolution": state.resolution, "growth/alpha": state.alpha, "growth/batch_size": state.batch_size}


def _lengths(name: str, kimg: float | Sequence[float] | None, doublings: int) -> list[int]:
    """The length of a kind of stage for each doubling of the resolution, in whole images, so that stages begin exactly."""
    if kimg is None or not doublings:
        return []
    each = [kimg] * doublings if isinstance(kimg, int | float) else list(kimg)
    if len(each) != doublings or any(length < 0 for length in each):
        raise ValueError(
            f"model.growth.{name}={kimg}: must be a number that is not negative, or a list of {doublings}, one for each "
            "doubling of the resolution"
        )
    return [round(1000 * length) for length in each]


Growth = FixedResolution | ProgressiveGrowing
