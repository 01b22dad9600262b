"""Mean and covariance of features that arrive in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Statistics:
    """In float64; memory does not grow with the number of images.

    Args:
        num_features: of one image.
        ddof: the covariance has ``count - ddof`` in its denominator: 1 as torch-fidelity, pytorch-fid and clean-fid, 0 as
            StyleGAN2-ADA.
    """

    def __init__(self, num_features: int, ddof: int = 1) -> None:
        self.count = 0
        self.ddof = ddof
        self._sum = np.zeros(num_features)
        self._products = np.zeros((num_features, num_features))
        self._shift: np.ndarray | None = None

    @classmethod
    def of(cls, features: Tensor, ddof: int = 1) -> Statistics:
        """Of features that are all there."""
        statistics = cls(features.shape[1], ddof)
        statistics.add(features)
        return statistics

    def add(self, features: Tensor) -> None:
        """``features``: ``[N, num_features]``. Sums are taken about the first batch's mean, against cancellation.

        Raises:
            ValueError: a value is not finite.
        """
        values = features.detach().cpu().double().numpy()
        if not np.isfinite(values).all():
            raise ValueError("the feature network gives values that are not finite: its weights are broken")
        if self._shift is None:
            self._shift = values.mean(0)
        values = values - self._shift
        self.count += len(values)
        self._sum += values.sum(0)
        self._products += values.T @ values  # NumPy sees that both are one and computes half of the products; torch does not

    @property
    def mean(self) -> Tensor:
        assert self._shift is not None, "no features yet"
        return torch.from_numpy(self._shift + self._sum / self.count)

    @property
    def covariance(self) -> Tensor:
        centred = self._products - np.outer(self._sum, self._sum) / self.count
        return torch.from_numpy(centred / (self.count - self.ddof))

    def state_dict(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "sum": torch.from_numpy(self._sum),
            "products": torch.from_numpy(self._products),
            "shift": None if self._shift is None else torch.from_numpy(self._shift),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], ddof: int) -> Statistics:
        statistics = cls(len(state["sum"]), ddof)
        statistics.count = state["count"]
        statistics._sum, statistics._products = state["sum"].numpy(), state["products"].numpy()
        statistics._shift = None if state["shift"] is None else state["shift"].numpy()
        return statistics
