"""The Frechet distance between two sets of features (Heusel et al. 2017, eq. 6), its error bar, and its limit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import FeatureNetwork

NORMAL_95 = 1.96
"""Standard errors on each side of an estimate that hold 95 % of a normal distribution."""


class ReferenceGaussian:
    """One side of many distances: what of it alone they need, computed once."""

    def __init__(self, statistics: MeanCovariance) -> None:
        self.mean = statistics.mean
        covariance = statistics.covariance
        self.trace = covariance.trace()
        self.factor = _factor(covariance)

    def distance(self, mean: Tensor, covariance: Tensor) -> float:
        """``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``.

        The trace of the square root is the sum of the square roots of the eigenvalues of the symmetric matrix ``L' C_a L``
        with ``C_b = L L'``, which has the same ones as ``C_a C_b``: no matrix square root that could turn complex.
        """
        inner = self.factor.T @ covariance @ self.factor
        cross = torch.linalg.eigvalsh(inner).clamp_min(0).sqrt().sum()
        distance = (mean - self.mean).square().sum() + covariance.trace() + self.trace - 2 * cross
        return distance.clamp_min(0.0).item()


def frechet_distance(a: MeanCovariance, b: MeanCovariance) -> float:
    """Between two sets, of which only mean and covariance matter."""
    return ReferenceGaussian(b).distance(a.mean, a.covariance)


class FrechetDistance(Metric):
    """``fd``, with ``fd_ci95``, the half-width of its 95 % interval, and ``fd_infinity``.

    The error is a bootstrap's (Efron 1979) over the fakes: it tells how far another draw of latents would move the score, the
    reals being the protocol's. A distance from finitely many images is too large by an amount that shrinks as 1/N;
    ``fd_infinity`` is the straight line through subsets' distances over 1/N, at 0 (Chong & Forsyth 2020, section 3). The reals
    remain as many as they are.

    Args:
        bootstrap: resamplings; 0 gives no error.
        points: subsets for the line; 0 draws none.
        seed: of both.
    """

    primary_score = "fd"

    def __init__(self, bootstrap: int, points: int, seed: int) -> None:
        if bootstrap < 0 or bootstrap == 1 or points < 0 or points == 1:
            raise ValueError(f"evaluation.metrics.frechet: {bootstrap=} and {points=} must be 0 or at least 2")
        self._bootstrap, self._points, self._seed = bootstrap, points, seed
        self.needs = frozenset(["features"]) if bootstrap or points else frozenset()

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        reference = reference_of(reals)
        name = network.score("fd")
        scores = {name: reference.distance(fakes.statistics.mean, fakes.statistics.covariance)}
        if self.needs and len(fakes) > 2:
            assert fakes.features is not None
            features = fakes.features.double().numpy()
            random, ddof = np.random.default_rng(self._seed), fakes.statistics.ddof
            if self._bootstrap:
                scores[f"{name}_ci95"] = NORMAL_95 * _deviation(features, reference, self._bootstrap, ddof, random)
            if self._points:
                scores[f"{name}_infinity"] = _at_infinity(features, reference, self._points, ddof, random)
        return scores


class IntraClassFrechetDistance(Metric):
    """``intra_fd``: the mean over classes of the distance between the fakes and the reals of a class (Miyato & Koyama 2018).

    Classes with fewer than two fakes or reals are left out; nothing without labels on both sides.
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
        """The distance of each class."""
        if fakes.labels is None or reals.labels is None:
            return {}
        assert fakes.features is not None and reals.features is not None
        distances = {}
        for number, name in enumerate(reals.classes):
            sides = [side.features[side.labels == number] for side in (fakes, reals)]  # type: ignore[index]
            if min(map(len, sides)) > 1:
                distances[name] = frechet_distance(*(MeanCovariance.of(side, fakes.statistics.ddof) for side in sides))
        return distances


def reference_of(reals: FeatureStats) -> ReferenceGaussian:
    """Of a sample that many are compared with."""
    if "frechet" not in reals.cache:
        reals.cache["frechet"] = ReferenceGaussian(reals.statistics)
    reference = reals.cache["frechet"]
    assert isinstance(reference, ReferenceGaussian)
    return reference


def _factor(covariance: Tensor) -> Tensor:
    """L with ``covariance = L L'``: Cholesky's, or from eigenvectors where there are fewer images than features."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()


def _deviation(features: np.ndarray, reference: ReferenceGaussian, count: int, ddof: int, random: np.random.Generator) -> float:
    """Standard deviation of the distance over resamplings of the features."""
    shift = features.mean(0)
    centred = features - shift
    distances = []
    for _ in range(count):
        weights = random.multinomial(len(features), np.full(len(features), 1 / len(features)))
        weighted = centred * np.sqrt(weights)[:, None]
        total = weights @ centred
        covariance = (weighted.T @ weighted - np.outer(total, total) / len(features)) / (len(features) - ddof)
        distances.append(reference.distance(torch.from_numpy(shift + total / len(features)), torch.from_numpy(covariance)))
    return float(np.std(distances, ddof=1))


def _at_infinity(
    features: np.ndarray, reference: ReferenceGaussian, points: int, ddof: int, random: np.random.Generator
) -> float:
    """Where the line through distances of subsets over 1/N meets the axis.

    The subsets have a tenth of the images to all of them, but at least twice as many as features as far as there are so many.
    """
    count, num_features = features.shape
    smallest = max(2, count // 10, min(2 * num_features, count // 2))
    sizes = np.linspace(smallest, count, points).astype(int)
    distances = []
    for size in sizes:
        subset = MeanCovariance.of(torch.from_numpy(features[random.choice(count, size, replace=False)]), ddof)
        distances.append(reference.distance(subset.mean, subset.covariance))
    _, at_zero = np.polyfit(1 / sizes, distances, 1)
    return float(at_zero)
