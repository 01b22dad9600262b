"""What nearest neighbours tell: fidelity, variety, and whether the training images were learnt by heart."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork

EXACT = 0.01
"""Of the usual distance to a neighbour: what is nearer is the same image, for all that rounding leaves of a distance of 0."""

BLOCK_BYTES = 2**27
"""Of distances held at a time."""


class PrecisionRecallDensityCoverage(Metric):
    """One table of distances, five scores, each a share in [0, 1] but for density.

    - ``precision``, ``recall`` (Kynkaanniemi et al. 2019, eq. 2): fakes within a real's ball, reals within a fake's; a ball
      reaches to the ``reach``-th neighbour of its own side.
    - ``density``, ``coverage`` (Naeem et al. 2020, eq. 3, 4), with balls to the ``density_k``-th neighbour: reals' balls a
      fake lies in, as a multiple of ``density_k``; reals whose ball has a fake in it.
    - ``copies``: fakes nearer to a real than all but ``copies_quantile`` of the reals are to their own nearest neighbour. Fresh
      images of the same kind have about ``copies_quantile`` of them; a generator that knows its images by heart has more. It
      knows of those reals alone that the protocol compares with: take all training images to be sure.

    An image is not its own neighbour.

    Args:
        nearest_k: 3 in the paper.
        density_k: 5 in the paper.
        copies_quantile: in (0, 1).
    """

    needs = frozenset(["features"])

    def __init__(self, nearest_k: int, density_k: int, copies_quantile: float) -> None:
        if nearest_k < 1 or density_k < 1 or not 0 < copies_quantile < 1:
            raise ValueError(
                f"evaluation.metrics.prdc: {nearest_k=} and {density_k=} must be at least 1, {copies_quantile=} within 0 and 1"
            )
        self._nearest_k, self._density_k, self._quantile = nearest_k, density_k, copies_quantile

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        assert fakes.features is not None and reals.features is not None
        if min(len(fakes), len(reals)) <= max(self._nearest_k, self._density_k):
            return {}
        reals_radii = self._radii(reals)
        inner, outer, nearest = reals_radii[self._nearest_k], reals_radii[self._density_k], reals_radii[1]
        own = radii(fakes.features, [self._nearest_k])[self._nearest_k]
        precise = dense = copied = 0
        recalled, covered = (torch.zeros(len(reals), dtype=torch.bool) for _ in range(2))
        threshold = max(nearest.quantile(self._quantile).item(), EXACT * outer.median().item())
        for start, distances in _blocks(fakes.features, reals.features):
            precise += int((distances <= inner).any(1).sum())
            within = distances <= outer
            dense += int(within.sum())
            covered |= within.any(0)
            recalled |= (distances <= own[start : start + len(distances), None]).any(0)
            copied += int((distances.amin(1) <= threshold).sum())
        scores = {
            "precision": precise / len(fakes),
            "recall": recalled.float().mean().item(),
            "density": dense / (self._density_k * len(fakes)),
            "coverage": covered.float().mean().item(),
            "copies": copied / len(fakes),
        }
        return {network.score(name): value for name, value in scores.items()}

    def _radii(self, reals: FeatureStats) -> dict[int, Tensor]:
        wanted = sorted({1, self._nearest_k, self._density_k})
        key = ("radii", *wanted)
        if key not in reals.cache:
            assert reals.features is not None
            reals.cache[key] = radii(reals.features, wanted)
        found: dict[int, Tensor] = reals.cache[key]
        return found


def radii(features: Tensor, reaches: list[int]) -> dict[int, Tensor]:
    """From each image to its n-th neighbour among the others, ``[N]``, for each n asked for."""
    parts = [distances.topk(max(reaches) + 1, largest=False).values for _, distances in _blocks(features, features)]
    nearest = torch.cat(parts)  # in ascending order; the first is the image itself
    return {reach: nearest[:, reach].contiguous() for reach in reaches}


def nearest(features: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances to, and places of, the ``count`` nearest, each ``[N, count]``, nearest first."""
    found = [distances.topk(min(count, len(among)), largest=False) for _, distances in _blocks(features, among)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Distances ``[n, len(b)]`` of some rows of ``a`` at a time, behind the number of the first of them.

    About the mean of ``b``: the products that ``cdist`` takes distances from cancel less there.
    """
    centre = b.mean(0)
    a, b = a - centre, b - centre
    rows = max(1, BLOCK_BYTES // (4 * len(b)))
    for start in range(0, len(a), rows):
        yield start, torch.cdist(a[start : start + rows], b)
