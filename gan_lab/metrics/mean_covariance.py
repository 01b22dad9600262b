"""Mean and covariance of features that arrive in batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

HALVED = 2**22
"""Values from which on NumPy's way pays: it computes half of ``x' x``, but its threads and torch's get in each other's way."""


class MeanCovariance:
    """In float64; memory does not grow with the number of images.

    Args:
        num_features: of one image.
        ddof: the covariance has ``count - ddof`` in its denominator: 1 as torch-fidelity, pytorch-fid and clean-fid, 0 as
            StyleGAN2-ADA.
    """

    def __init__(self, num_features: int, ddof: int = 1) -> None:
        self.count = 0
        self.ddof = ddof
        self._sum = torch.zeros(num_features, dtype=torch.float64)
        self._products = torch.zeros(num_features, num_features, dtype=torch.float64)
        self._shift: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, ddof: int = 1) -> MeanCovariance:
        """Of features that are all there."""
        statistics = cls(features.shape[1], ddof)
        statistics.add(features)
        return statistics

    def add(self, features: Tensor) -> None:
        """``features``: ``[N, num_features]``. Sums are taken about the first batch's mean, against cancellation.

        Raises:
            ValueError: a value is not finite.
        """
        values = features.detach().cpu().double()
        if not values.isfinite().all():
            raise ValueError("the feature network gives values that are not finite: its weights are broken")
        if self._shift is None:
            self._shift = values.mean(0)
        values = values - self._shift
        self.count += len(values)
        self._sum += values.sum(0)
        self._products += _products(values)

    def merge(self, other: MeanCovariance) -> None:
        """Take in the features another one has seen: its sums, moved to be about this one's mean."""
        if self._shift is None:
            self.count, self._sum, self._products, self._shift = other.count, other._sum, other._products, other._shift
            return
        assert other._shift is not None
        moved = other._shift - self._shift
        cross = torch.outer(other._sum, moved)
        self._products += other._products + cross + cross.T + other.count * torch.outer(moved, moved)
        self._sum += other._sum + other.count * moved
        self.count += other.count

    @property
    def mean(self) -> Tensor:
        assert self._shift is not None, "no features yet"
        return self._shift + self._sum / self.count

    @property
    def covariance(self) -> Tensor:
        return (self._products - torch.outer(self._sum, self._sum) / self.count) / (self.count - self.ddof)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "sum": self._sum, "products": self._products, "shift": self._shift}

    @classmethod
    def from_state(cls, state: dict[str, Any], ddof: int) -> MeanCovariance:
        statistics = cls(len(state["sum"]), ddof)
        statistics.count = state["count"]
        statistics._sum, statistics._products, statistics._shift = state["sum"], state["products"], state["shift"]
        return statistics


def _products(values: Tensor) -> Tensor:
    """``x' x``."""
    if values.numel() < HALVED:
        return values.T @ values
    array = values.numpy()
    return torch.from_numpy(array.T @ array)
