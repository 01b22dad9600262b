"""How alike the fakes are among themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork
from gan_lab.metrics.ssim import ms_ssim, scales

BLOCK_VALUES = 2**18
"""Of one side of the pairs compared at a time; more no longer stays in a cache."""


class MultiScaleSimilarity(Metric):
    """``ms_ssim``: how alike two fakes are, the mean over random pairs, and ``ms_ssim_reals``, the same of the reals.

    0 is nothing in common, 1 the same image. Fakes more alike than the reals lack variety; fakes that are less so are not
    better for it, noise being the least alike of all. Within a class where both sides have labels (Odena et al. 2017, section
    4.2), with equally many pairs in each; else among all.

    :func:`~gan_lab.metrics.ssim.ms_ssim` has five scales from 161 pixels on, 2 at 32x32, 3 at 64x64, 4 at 128x128: only
    scores of one size compare. The details say how many, and give the classes' own. Nothing for images smaller than 11 pixels.

    Args:
        pairs: in all, rounded up to a multiple of the number of classes. The paper has 100 a class, Karras et al. 2018 10,000.
        seed: of their choice.
    """

    needs = frozenset(["pixels", "labels"])

    def __init__(self, pairs: int, seed: int) -> None:
        if pairs < 1:
            raise ValueError(f"evaluation.metrics.diversity: {pairs=} must be at least 1")
        self._pairs, self._seed = pairs, seed

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        return {f"ms_ssim{side}": values.mean().item() for side, values in self._values(fakes, reals).items()}

    def details(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, dict[str, float]]:
        values = self._values(fakes, reals)
        if not values:
            return {}
        assert fakes.pixels is not None
        counted = {f"pairs{side}": float(of_side.numel()) for side, of_side in values.items()}
        tables = {"ms_ssim": {"scales": float(scales(*fakes.pixels.shape[2:])), **counted}}
        if _by_class(fakes, reals):
            for side, sample in (("", fakes), ("_reals", reals)):
                if side in values:
                    names = [reals.classes[number] for number in _groups(sample, True)]
                    tables[f"ms_ssim{side} by class"] = dict(zip(names, values[side].mean(1).tolist(), strict=True))
        return tables

    def _values(self, fakes: FeatureStats, reals: FeatureStats) -> dict[str, Tensor]:
        """``[classes, pairs]`` of each side that has any, by what its score's name ends in; the fakes' always or nothing."""
        by_class = _by_class(fakes, reals)
        found = {side: self._of(sample, by_class) for side, sample in (("", fakes), ("_reals", reals))}
        return {side: values for side, values in found.items() if values.numel()} if found[""].numel() else {}

    def _of(self, sample: FeatureStats, by_class: bool) -> Tensor:
        """What the pairs of a sample have, computed once."""
        key = ("ms_ssim", self._pairs, self._seed, by_class)
        if key not in sample.cache:
            assert sample.pixels is not None
            groups = list(_groups(sample, by_class).values()) if scales(*sample.pixels.shape[2:]) else []
            generator = torch.Generator().manual_seed(self._seed)
            each = -(-self._pairs // max(1, len(groups)))
            pairs = [random_pairs(members, each, generator) for members in groups]
            sample.cache[key] = torch.stack([_similarities(sample.pixels, p) for p in pairs]) if pairs else torch.empty(0, each)
        values: Tensor = sample.cache[key]
        return values


def random_pairs(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``[count, 2]`` of at least two ``members``, never one with itself; a pair may come again."""
    first = torch.randint(len(members), (count,), generator=generator)
    second = torch.randint(len(members) - 1, (count,), generator=generator)
    return members[torch.stack((first, second + (second >= first)), 1)]


def _by_class(fakes: FeatureStats, reals: FeatureStats) -> bool:
    return fakes.labels is not None and reals.labels is not None and len(reals.classes) > 0


def _groups(sample: FeatureStats, by_class: bool) -> dict[int, Tensor]:
    """Places of the images that are compared with one another, at least two in each group, by class number or under 0."""
    assert sample.pixels is not None
    if not by_class:
        return {0: torch.arange(len(sample.pixels))} if len(sample.pixels) > 1 else {}
    labels = sample.pixel_labels
    assert labels is not None
    members = {number: (labels == number).nonzero().flatten() for number in range(len(sample.classes))}
    return {number: places for number, places in members.items() if len(places) > 1}


def _similarities(pixels: Tensor, pairs: Tensor) -> Tensor:
    rows = max(1, BLOCK_VALUES // pixels[0].numel())
    return torch.cat([ms_ssim(*(pixels[side].float() for side in part.unbind(1))) for part in pairs.split(rows)])
