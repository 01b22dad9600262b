"""Kernel distance, called KID in Inception features (Binkowski et al. 2018)."""

from __future__ import annotations

import math

import numpy as np

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.frechet import NORMAL_95
from gan_lab.metrics.networks import FeatureNetwork


class KernelDistance(Metric):
    """``kd``: unbiased squared maximum mean discrepancy with the kernel ``(x . y / d + 1)^3``, mean over random subsets.

    ``d`` is the number of features. ``kd_std`` is the standard deviation over the subsets, which torch-fidelity also reports.
    ``kd_ci95`` is the half-width of the 95 % confidence interval of the estimate from all N images: the variance of a subset of
    m images, drawn without replacement, about that estimate is proportional to 1/m - 1/N, and the variance of the estimate
    itself to 1/N, hence ``1.96 kd_std sqrt(m / (N - m))``. It is omitted if a subset is the whole set.

    Args:
        subsets: number of subsets.
        subset_size: fakes, and reals, in a subset; at most as many as there are.
        seed: of the subsets, which are those of torch-fidelity with the same seed (NumPy's ``RandomState``).
    """

    needs = frozenset(["features"])
    primary_score = "kd"

    def __init__(self, subsets: int, subset_size: int, seed: int) -> None:
        if subsets < 1 or subset_size < 2:
            raise ValueError(f"evaluation.metrics.kernel: {subsets=}, {subset_size=}: must be at least 1 and 2")
        self._subsets, self._subset_size, self._seed = subsets, subset_size, seed

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        assert fakes.features is not None and reals.features is not None
        a, b = fakes.features.numpy(), reals.features.numpy()
        size = min(self._subset_size, len(a), len(b))
        random = np.random.RandomState(self._seed)
        values = []
        for _ in range(self._subsets):
            x, y = (side[random.choice(len(side), size, replace=False)] for side in (a, b))
            values.append(squared_discrepancy(x, y))
        std = float(np.std(values))
        name = network.score("kd")
        scores = {name: float(np.mean(values)), f"{name}_std": std}
        rest = min(len(a), len(b)) - size
        return scores | ({f"{name}_ci95": NORMAL_95 * std * math.sqrt(size / rest)} if rest else {})


def squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased estimate from two sets of features, ``[M, D]`` each."""
    count, num_features = x.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products = (a @ b.T).astype(np.float64) / num_features + 1.0
        return products * products * products

    within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return float(within / (count * (count - 1)) - 2.0 * kernel(x, y).mean())
