"""The interface of a metric of generated images, and the statistics it is computed from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import FeatureNetwork

PIXEL_BYTES = 2**30
"""Pixels kept of a set of images; pixel metrics use a few thousand images."""


@dataclass
class FeatureStats:
    """Statistics of a set of images, on the CPU. Fields that no metric needs are None.

    Attributes:
        statistics: mean and covariance of the features.
        features: ``[N, num_features]`` float32.
        logits: ``[N, num_classes]`` float32, of networks with a classification head.
        pixels: ``[M, C, H, W]`` uint8; M < N if all images take more than :data:`PIXEL_BYTES`.
        pixel_index: ``[M]`` int64, the indices of the images in ``pixels``; None: all.
        labels: ``[N]`` int64 class indices, -1 for unlabeled images.
        classes: names of the classes.
        cache: intermediate results of metrics, for reuse.
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
        """``[M]``: labels of the images in ``pixels``."""
        return self.labels if self.labels is None or self.pixel_index is None else self.labels[self.pixel_index]


class ConfiguredMetric:
    """What metrics of image sets and full-reference metrics have in common.

    Attributes:
        primary_score: the one of its scores that can represent a run (lower is better), or None.
    """

    primary_score: str | None = None

    def settings(self) -> str:
        """The parameters, stored with the scores; scores are comparable only if they are equal."""
        parameters = {name.lstrip("_"): value for name, value in vars(self).items() if isinstance(value, int | float | str)}
        return ", ".join(f"{name}={value}" for name, value in parameters.items()) or "as published"


class Metric(ConfiguredMetric, ABC):
    """A comparison of generated with real images.

    Attributes:
        needs: the fields of :class:`FeatureStats` it reads, of ``features``, ``logits``, ``pixels`` and ``labels``.
    """

    needs: frozenset[str] = frozenset()

    @abstractmethod
    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        """Scores by name; empty if something it needs is missing, such as labels."""

    def details(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, dict[str, float]]:
        """Further tables by title, such as the score of each class; stored by ``gan_lab.evaluate``, not during training."""
        return {}
