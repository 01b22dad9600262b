"""Mean and covariance of features, accumulated in batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NUMPY_MIN_VALUES = 2**22
"""Values in a batch from which NumPy computes ``x' x`` faster: it uses the symmetry, but its threads compete with torch's."""


class MeanCovariance:
    """Accumulates in float64; memory does not depend on the number of images.

    Args:
        num_features: features per image.
        ddof: the covariance is divided by ``count - ddof``: 1 in torch-fidelity, pytorch-fid and clean-fid, 0 in StyleGAN2-ADA.
    """

    def __init__(self, num_features: int, ddof: int = 1) -> None:
        self.count = 0
        self.ddof = ddof
        self._sum = torch.zeros(num_features, dtype=torch.float64)
        self._products = torch.zeros(num_features, num_features, dtype=torch.float64)
        self._shift: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, ddof: int = 1) -> MeanCovariance:
        """The statistics of ``features``, ``[N, num_features]``."""
        statistics = cls(features.shape[1], ddof)
        statistics.add(features)
        return statistics

    def add(self, features: Tensor) -> None:
        """Add a batch ``[N, num_features]``. Sums are relative to the mean of the first batch, which avoids cancellation.

        Raises:
            ValueError: a value is not finite.
        """
        values = features.detach().cpu().double()
        if not values.isfinite().all():
            raise ValueError("the features are not finite: the weights of the feature network are broken")
        if self._shift is None:
            self._shift = values.mean(0)
        values = values - self._shift
        self.count += len(values)
        self._sum += values.sum(0)
        self._products += gram(values)

    def merge(self, other: MeanCovariance) -> None:
        """Add the features accumulated by ``other``, whose sums are shifted to this one's reference point."""
        if self._shift is None:
            self.count, self._sum, self._products, self._shift = other.count, other._sum, other._products, other._shift
            return
        assert other._shift is not None
        offset = other._shift - self._shift
        cross = torch.outer(other._sum, offset)
        self._products += other._products + cross + cross.T + other.count * torch.outer(offset, offset)
        self._sum += other._sum + other.count * offset
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


def gram(values: Tensor) -> Tensor:
    """``x' x`` of values ``[N, D]``."""
    if values.numel() < NUMPY_MIN_VALUES or values.device.type != "cpu":
        return values.T @ values
    array = values.numpy()
    return torch.from_numpy(array.T @ array)
