"""Metrics from nearest neighbors: precision, recall, density, coverage, and copies of training images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork

SAME_IMAGE = 0.01
"""Fraction of the median neighbor distance below which two images count as the same: rounding keeps a distance from being 0."""

BLOCK_BYTES = 2**27
"""Memory of the distances computed at a time."""


class PrecisionRecallDensityCoverage(Metric):
    """Five scores from the feature distances between fakes and reals.

    The ball of an image has the distance to its k-th nearest neighbor in its own set (without itself) as radius. All scores are
    fractions in [0, 1], except ``density``, which can exceed 1.

    - ``precision``: fakes inside the ball of any real; ``recall``: reals inside the ball of any fake. k is ``nearest_k``
      (Kynkaanniemi et al. 2019, eq. 2).
    - ``density``: mean number of real balls that a fake lies in, divided by k; ``coverage``: reals whose ball contains a fake.
      k is ``density_k`` (Naeem et al. 2020, eq. 3 and 4).
    - ``copies``: fakes that are closer to a real than a threshold, the ``copies_quantile`` quantile of the distances from each
      real to its nearest neighbor. New images from the distribution of the reals score about ``copies_quantile``, a generator
      that has memorized training images scores higher. Only reals of the protocol are searched: ``num_reals: null`` for all.

    Args:
        nearest_k: 3 in the paper.
        density_k: 5 in the paper.
        copies_quantile: in (0, 1).
    """

    needs = frozenset(["features"])

    def __init__(self, nearest_k: int, density_k: int, copies_quantile: float) -> None:
        if nearest_k < 1 or density_k < 1 or not 0 < copies_quantile < 1:
            raise ValueError(
                f"evaluation.metrics.prdc: {nearest_k=} and {density_k=} must be at least 1, {copies_quantile=} in (0, 1)"
            )
        self._nearest_k, self._density_k, self._quantile = nearest_k, density_k, copies_quantile

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        assert fakes.features is not None and reals.features is not None
        if min(len(fakes), len(reals)) <= max(self._nearest_k, self._density_k):
            return {}
        reals_radii = self._radii(reals, network.device)
        inner, outer, nearest = reals_radii[self._nearest_k], reals_radii[self._density_k], reals_radii[1]
        device = network.device
        fake_features, real_features = fakes.features.to(device), reals.features.to(device)
        fakes_radii = radii(fake_features, [self._nearest_k])[self._nearest_k]
        num_precise = num_balls = num_copies = 0
        recalled, covered = (torch.zeros(len(reals), dtype=torch.bool, device=device) for _ in range(2))
        threshold = max(nearest.quantile(self._quantile).item(), SAME_IMAGE * outer.median().item())
        for start, distances in _blocks(fake_features, real_features):
            num_precise += int((distances <= inner).any(1).sum())
            within = distances <= outer
            num_balls += int(within.sum())
            covered |= within.any(0)
            recalled |= (distances <= fakes_radii[start : start + len(distances), None]).any(0)
            num_copies += int((distances.amin(1) <= threshold).sum())
        scores = {
            "precision": num_precise / len(fakes),
            "recall": recalled.float().mean().item(),
            "density": num_balls / (self._density_k * len(fakes)),
            "coverage": covered.float().mean().item(),
            "copies": num_copies / len(fakes),
        }
        return {network.score(name): value for name, value in scores.items()}

    def _radii(self, reals: FeatureStats, device: torch.device) -> dict[int, Tensor]:
        """Radii of the reals' balls by k, computed once."""
        ks = sorted({1, self._nearest_k, self._density_k})
        key = ("radii", str(device), *ks)
        if key not in reals.cache:
            assert reals.features is not None
            reals.cache[key] = radii(reals.features.to(device), ks)
        cached: dict[int, Tensor] = reals.cache[key]
        return cached


def radii(features: Tensor, ks: list[int]) -> dict[int, Tensor]:
    """Distances ``[N]`` from each image to its k-th nearest neighbor, by k."""
    parts = [distances.topk(max(ks) + 1, largest=False).values for _, distances in _blocks(features, features)]
    nearest = torch.cat(parts)  # in ascending order; the first is the image itself
    return {k: nearest[:, k].contiguous() for k in ks}


def nearest(features: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and indices, ``[N, count]`` each, of the ``count`` nearest rows of ``among``, nearest first.

    Args:
        features: ``[N, D]``.
        among: ``[M, D]``; M limits ``count``.
    """
    parts = [distances.topk(min(count, len(among)), largest=False) for _, distances in _blocks(features, among)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Distances between the rows of ``a`` and ``b`` in blocks ``[n, len(b)]``, each with the index of its first row of ``a``.

    Subtracting the mean of ``b`` reduces cancellation in the matrix products that ``cdist`` computes distances from.
    """
    center = b.mean(0)
    a, b = a - center, b - center
    rows = max(1, BLOCK_BYTES // (4 * len(b)))
    for start in range(0, len(a), rows):
        yield start, torch.cdist(a[start : start + rows], b)
