"""What a metric is given, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import FeatureNetwork

PIXEL_BYTES = 2**30
"""Of pixels kept of a sample; what looks at them takes a few thousand images."""


@dataclass
class FeatureStats:
    """What one pass over a set of images has left, on the CPU; as much as the metrics need.

    Attributes:
        statistics: mean and covariance of the features.
        features: ``[N, num_features]`` float32.
        logits: ``[N, num_classes]`` float32, of a network that has classes.
        pixels: ``[M, C, H, W]`` uint8, of all images or, of large ones, of as many as :data:`PIXEL_BYTES` hold.
        places: ``[M]`` int64, which images those are; None: all.
        labels: ``[N]`` int64 class numbers the images were made, or stored, under.
        classes: the names of the labels.
        memo: what metrics have computed of this sample and may want again, by name.
    """

    statistics: MeanCovariance
    features: Tensor | None = None
    logits: Tensor | None = None
    pixels: Tensor | None = None
    pixel_index: Tensor | None = None
    labels: Tensor | None = None
    classes: Sequence[str] = ()
    cache: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.statistics.count

    @property
    def pixel_labels(self) -> Tensor | None:
        """Labels of the images whose pixels are there."""
        return self.labels if self.labels is None or self.pixel_index is None else self.labels[self.pixel_index]


class Metric(ABC):
    """A comparison of fakes with reals.

    Attributes:
        needs: of ``features``, ``logits``, ``pixels``, ``labels``: what of a sample must be kept for it.
        headline: the one of its scores that may stand for a run, lower being better; None if it has none such.
    """

    needs: frozenset[str] = frozenset()
    primary_score: str | None = None

    @abstractmethod
    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        """The scores by their names; nothing where a sample has not what it takes, such as labels."""

    def settings(self) -> str:
        """The numbers it was made with, for the record: two scores compare only if these are the same."""
        numbers = {name.lstrip("_"): value for name, value in vars(self).items() if isinstance(value, int | float | str)}
        return ", ".join(f"{name}={value}" for name, value in numbers.items()) or "as published"

    def details(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, dict[str, float]]:
        """Tables behind a score, such as its value for each class; for records, not for curves."""
        return {}
