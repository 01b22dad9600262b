"""The kernel distance (KID: Binkowski et al. 2018): unbiased, and with an error of its own."""

from __future__ import annotations

import math

import numpy as np

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.frechet import NORMAL_95
from gan_lab.metrics.networks import FeatureNetwork


class KernelDistance(Metric):
    """``kd``: squared maximum mean discrepancy under the kernel ``(x y / d + 1)^3``, the mean over random subsets.

    ``kd_std`` is the subsets' standard deviation, what torch-fidelity gives beside its KID. ``kd_ci95``, the half-width of the
    95 % interval, is that of the estimate from all N images: subsets of m drawn without replacement deviate from it as
    1/m - 1/N, and it from the truth as 1/N, so it is ``1.96 kd_std sqrt(m / (N - m))``. None where a subset is the whole set.

    Args:
        subsets: how many.
        subset_size: images of each side in one; all of a smaller set.
        seed: of the choice, by NumPy's ``RandomState`` in torch-fidelity's order, so that the subsets are the same ones.
    """

    needs = frozenset(["features"])
    primary_score = "kd"

    def __init__(self, subsets: int, subset_size: int, seed: int) -> None:
        if subsets < 1 or subset_size < 2:
            raise ValueError(f"evaluation.metrics.kernel: {subsets=} must be at least 1 and {subset_size=} at least 2")
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
        deviation = float(np.std(values))
        name = network.score("kd")
        scores = {name: float(np.mean(values)), f"{name}_std": deviation}
        left = min(len(a), len(b)) - size
        return scores | ({f"{name}_ci95": NORMAL_95 * deviation * math.sqrt(size / left)} if left else {})


def squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate from two sets of equal size, ``[M, D]`` each."""
    count, width = x.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products = (a @ b.T).astype(np.float64) / width + 1.0
        return products * products * products

    own = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return float(own / (count * (count - 1)) - 2.0 * kernel(x, y).mean())
