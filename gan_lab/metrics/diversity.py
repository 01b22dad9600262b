"""Diversity: the mean similarity of pairs of generated images."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork
from gan_lab.metrics.ssim import ms_ssim, scales

BLOCK_VALUES = 2**18
"""Values of one side of the pairs compared at a time; larger blocks exceed the CPU cache."""


class MultiScaleSimilarity(Metric):
    """``ms_ssim``: mean MS-SSIM of random pairs of fakes, in [0, 1]; ``ms_ssim_reals``: that of the reals, for comparison.

    A value above that of the reals means that the fakes lack diversity. A value below it is no advantage: noise has the lowest.
    If fakes and reals have labels, pairs are drawn within classes, equally many in each (Odena et al. 2017, section 4.2).

    :func:`~gan_lab.metrics.ssim.ms_ssim` uses 2 scales at 32x32 pixels, 3 at 64x64, 4 at 128x128 and 5 from 161 pixels on, so
    only scores of images of the same size are comparable. The details give the number of scales and the scores of each class.
    Empty for images smaller than 11 pixels.

    Args:
        pairs: total number of pairs, rounded up to a multiple of the number of classes; Odena et al. use 100 per class, Karras
            et al. (2018) 10,000 in total.
        seed: of the choice of pairs.
    """

    needs = frozenset(["pixels", "labels"])

    def __init__(self, pairs: int, seed: int) -> None:
        if pairs < 1:
            raise ValueError(f"evaluation.metrics.diversity: {pairs=}: must be at least 1")
        self._pairs, self._seed = pairs, seed

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        return {f"ms_ssim{suffix}": values.mean().item() for suffix, values in self._values(fakes, reals).items()}

    def details(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, dict[str, float]]:
        values = self._values(fakes, reals)
        if not values:
            return {}
        assert fakes.pixels is not None
        counts = {f"pairs{suffix}": float(similarities.numel()) for suffix, similarities in values.items()}
        tables = {"ms_ssim": {"scales": float(scales(*fakes.pixels.shape[2:])), **counts}}
        if _by_class(fakes, reals):
            for suffix, stats in (("", fakes), ("_reals", reals)):
                if suffix in values:
                    names = [reals.classes[number] for number in _groups(stats, True)]
                    tables[f"ms_ssim{suffix} by class"] = dict(zip(names, values[suffix].mean(1).tolist(), strict=True))
        return tables

    def _values(self, fakes: FeatureStats, reals: FeatureStats) -> dict[str, Tensor]:
        """MS-SSIM ``[groups, pairs]`` of fakes and reals by the suffix of the score; empty if the fakes have no pairs."""
        by_class = _by_class(fakes, reals)
        values = {suffix: self._similarities(stats, by_class) for suffix, stats in (("", fakes), ("_reals", reals))}
        return {suffix: tensor for suffix, tensor in values.items() if tensor.numel()} if values[""].numel() else {}

    def _similarities(self, stats: FeatureStats, by_class: bool) -> Tensor:
        """MS-SSIM ``[groups, pairs]`` of random pairs, computed once for a set of images."""
        key = ("ms_ssim", self._pairs, self._seed, by_class)
        if key not in stats.cache:
            assert stats.pixels is not None
            groups = list(_groups(stats, by_class).values()) if scales(*stats.pixels.shape[2:]) else []
            generator = torch.Generator().manual_seed(self._seed)
            count = -(-self._pairs // max(1, len(groups)))
            pairs = [random_pairs(members, count, generator) for members in groups]
            stats.cache[key] = torch.stack([_compare(stats.pixels, p) for p in pairs]) if pairs else torch.empty(0, count)
        values: Tensor = stats.cache[key]
        return values


def random_pairs(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``[count, 2]`` random pairs of different ``members``, at least two; pairs may repeat."""
    first = torch.randint(len(members), (count,), generator=generator)
    second = torch.randint(len(members) - 1, (count,), generator=generator)
    return members[torch.stack((first, second + (second >= first)), 1)]


def _by_class(fakes: FeatureStats, reals: FeatureStats) -> bool:
    return fakes.labels is not None and reals.labels is not None and len(reals.classes) > 0


def _groups(stats: FeatureStats, by_class: bool) -> dict[int, Tensor]:
    """Indices of the images of each class by class index, or of all images under 0; only groups of at least two images."""
    assert stats.pixels is not None
    if not by_class:
        return {0: torch.arange(len(stats.pixels))} if len(stats.pixels) > 1 else {}
    labels = stats.pixel_labels
    assert labels is not None
    members = {number: (labels == number).nonzero().flatten() for number in range(len(stats.classes))}
    return {number: indices for number, indices in members.items() if len(indices) > 1}


def _compare(pixels: Tensor, pairs: Tensor) -> Tensor:
    """MS-SSIM ``[P]`` of pairs of images, given as indices ``[P, 2]``."""
    rows = max(1, BLOCK_VALUES // pixels[0].numel())
    return torch.cat([ms_ssim(*(pixels[side].float() for side in part.unbind(1))) for part in pairs.split(rows)])
