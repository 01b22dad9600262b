"""Fréchet distance between two sets of features (Heusel et al. 2017, eq. 6), with its confidence interval and its limit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.mean_covariance import MeanCovariance, gram
from gan_lab.metrics.networks import FeatureNetwork

CPU = torch.device("cpu")

NORMAL_95 = 1.96
"""Half-width of the 95 % confidence interval in standard errors."""


class ReferenceGaussian:
    """A Gaussian that many others are compared with; what depends on it alone is computed once.

    Args:
        statistics: its mean and covariance, in float64.
        device: where distances are computed.
    """

    def __init__(self, statistics: MeanCovariance, device: torch.device = CPU) -> None:
        self.mean = statistics.mean.to(device)
        covariance = statistics.covariance.to(device)
        self.trace = covariance.trace()
        self.factor = _factor(covariance)

    def distance(self, mean: Tensor, covariance: Tensor) -> float:
        """``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``; ``b`` is this Gaussian.

        With ``C_b = L L'``, the symmetric matrix ``L' C_a L`` has the eigenvalues of ``C_a C_b``, and the sum of their square
        roots is the trace of the matrix square root. A matrix square root itself could become complex by rounding.
        """
        mean, covariance = mean.to(self.mean.device), covariance.to(self.mean.device)
        inner = self.factor.T @ covariance @ self.factor
        cross = torch.linalg.eigvalsh(inner).clamp_min(0).sqrt().sum()
        distance = (mean - self.mean).square().sum() + covariance.trace() + self.trace - 2 * cross
        return distance.clamp_min(0.0).item()


def frechet_distance(a: MeanCovariance, b: MeanCovariance) -> float:
    """The distance between two sets of features, given their means and covariances."""
    return ReferenceGaussian(b).distance(a.mean, a.covariance)


class FrechetDistance(Metric):
    """Fréchet distance ``fd``, called FID in Inception features; also ``fd_ci95`` and ``fd_infinity``.

    ``fd_ci95`` is the half-width of the 95 % confidence interval from a bootstrap over the fakes (Efron 1979): how much the
    score varies with the latents; the reals are fixed. A distance estimated from N images has a positive bias of order 1/N;
    ``fd_infinity`` extrapolates it to infinitely many fakes with a linear fit over 1/N of the distances of subsets (Chong &
    Forsyth 2020, section 3). The number of reals stays the same.

    Args:
        bootstrap: number of resamplings, at least 2; 0: no ``fd_ci95``.
        points: number of subsets in the fit, at least 2; 0: no ``fd_infinity``.
        seed: of both.
    """

    primary_score = "fd"

    def __init__(self, bootstrap: int, points: int, seed: int) -> None:
        if bootstrap < 0 or bootstrap == 1 or points < 0 or points == 1:
            raise ValueError(f"evaluation.metrics.frechet: {bootstrap=}, {points=}: both must be 0 or at least 2")
        self._bootstrap, self._points, self._seed = bootstrap, points, seed
        self.needs = frozenset(["features"]) if bootstrap or points else frozenset()

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        reference = reference_of(reals, network.device)
        name = network.score("fd")
        scores = {name: reference.distance(fakes.statistics.mean, fakes.statistics.covariance)}
        if self.needs and len(fakes) > 2:
            assert fakes.features is not None
            features = fakes.features.to(network.device).double()
            random, ddof = np.random.default_rng(self._seed), fakes.statistics.ddof
            if self._bootstrap:
                scores[f"{name}_ci95"] = NORMAL_95 * _bootstrap_std(features, reference, self._bootstrap, ddof, random)
            if self._points:
                scores[f"{name}_infinity"] = _extrapolate(features, reference, self._points, ddof, random)
        return scores


class IntraClassFrechetDistance(Metric):
    """``intra_fd``: Fréchet distance between the fakes and the reals of a class, mean over classes (Miyato & Koyama 2018).

    Classes with fewer than two fakes or reals are left out. Empty unless fakes and reals have labels.
    """

    needs = frozenset(["features", "labels"])

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        distances = self.of_classes(fakes, reals)
        return {network.score("intra_fd"): sum(distances.values()) / len(distances)} if distances else {}

    def details(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, dict[str, float]]:
        distances = self.of_classes(fakes, reals)
        return {f"{network.score('fd')} by class": distances} if distances else {}

    @staticmethod
    def of_classes(fakes: FeatureStats, reals: FeatureStats) -> dict[str, float]:
        """The distance of each class by its name."""
        if fakes.labels is None or reals.labels is None:
            return {}
        assert fakes.features is not None and reals.features is not None
        distances = {}
        for number, name in enumerate(reals.classes):
            sides = [side.features[side.labels == number] for side in (fakes, reals)]  # type: ignore[index]
            if min(map(len, sides)) > 1:
                distances[name] = frechet_distance(*(MeanCovariance.of(side, fakes.statistics.ddof) for side in sides))
        return distances


def reference_of(reals: FeatureStats, device: torch.device) -> ReferenceGaussian:
    """The Gaussian of the reals on ``device``, computed once."""
    key = f"frechet on {device}"
    if key not in reals.cache:
        reals.cache[key] = ReferenceGaussian(reals.statistics, device)
    reference = reals.cache[key]
    assert isinstance(reference, ReferenceGaussian)
    return reference


def _factor(covariance: Tensor) -> Tensor:
    """``L`` with ``covariance = L L'``: Cholesky, or the eigendecomposition if it is singular (fewer images than features)."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()


def _bootstrap_std(features: Tensor, reference: ReferenceGaussian, count: int, ddof: int, random: np.random.Generator) -> float:
    """Standard deviation of the distance over ``count`` resamplings of features ``[N, num_features]``."""
    shift = features.mean(0)
    centered = features - shift
    distances = []
    for _ in range(count):
        drawn = random.multinomial(len(features), np.full(len(features), 1 / len(features)))
        weights = torch.from_numpy(drawn).to(features)
        total = weights @ centered
        products = gram(centered * weights.sqrt()[:, None])
        covariance = (products - torch.outer(total, total) / len(features)) / (len(features) - ddof)
        distances.append(reference.distance(shift + total / len(features), covariance))
    return float(np.std(distances, ddof=1))


def _extrapolate(features: Tensor, reference: ReferenceGaussian, points: int, ddof: int, random: np.random.Generator) -> float:
    """The distance for infinitely many fakes: the intercept of a line fitted to the distances of subsets over 1/N.

    The subset sizes go from a tenth of the images to all. The smallest has at least twice as many images as there are features,
    or half of the images if these are too few.
    """
    count, num_features = features.shape
    smallest = max(2, count // 10, min(2 * num_features, count // 2))
    sizes = np.linspace(smallest, count, points).astype(int)
    distances = []
    for size in sizes:
        chosen = torch.from_numpy(random.choice(count, size, replace=False)).to(features.device)
        subset = MeanCovariance.of(features[chosen], ddof)
        distances.append(reference.distance(subset.mean, subset.covariance))
    _, intercept = np.polyfit(1 / sizes, distances, 1)
    return float(intercept)
