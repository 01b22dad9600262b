"""The Frechet distance between two sets of features (Heusel et al. 2017, eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor


class Statistics:
    """Mean and covariance of features that arrive in batches, in float64; memory does not grow with their number."""

    def __init__(self, num_features: int) -> None:
        self._count = 0
        self._sum = torch.zeros(num_features, dtype=torch.float64)
        self._products = torch.zeros(num_features, num_features, dtype=torch.float64)
        self._shift: Tensor | None = None

    def add(self, features: Tensor) -> None:
        """``features``: ``[N, num_features]``. Sums are taken about the first batch's mean, against cancellation."""
        features = features.detach().cpu().double()
        if self._shift is None:
            self._shift = features.mean(0)
        features = features - self._shift
        self._count += len(features)
        self._sum += features.sum(0)
        self._products += features.T @ features

    @property
    def mean(self) -> Tensor:
        assert self._shift is not None, "no features yet"
        return self._shift + self._sum / self._count

    @property
    def covariance(self) -> Tensor:
        """With N - 1 in the denominator, as torch-fidelity."""
        return (self._products - torch.outer(self._sum, self._sum) / self._count) / (self._count - 1)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``.

    The trace of the square root is the sum of the square roots of the eigenvalues of the symmetric matrix
    ``C_a^(1/2) C_b C_a^(1/2)``, which has the same ones as ``C_a C_b``: no matrix square root that could turn complex.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, distance.item())
