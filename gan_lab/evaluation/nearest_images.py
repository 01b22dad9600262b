"""A picture for the question whether training images were learnt by heart."""

from __future__ import annotations

from pathlib import Path

import torch

from gan_lab.metrics.base import FeatureStats
from gan_lab.metrics.prdc import nearest
from gan_lab.metrics.suite import ProtocolEvaluation
from gan_lab.utils.image_ops import image_grid

SHOWN, NEIGHBOURS, SCALE = 8, 6, 2
"""Fakes, the nearest training images beside each, and the enlargement."""


def save_nearest(measure: ProtocolEvaluation, fakes: FeatureStats, path: Path) -> bool:
    """Fakes that come nearest to a training image, one a row, before those they are nearest to.

    Returns:
        Whether it could be drawn: it takes fakes whose features and pixels were kept.
    """
    reals = measure.reals
    if fakes.pixels is None or fakes.features is None or reals is None or reals.features is None:
        return False
    features = fakes.features[: len(fakes.pixels)]  # of the first fakes, when there was no room for all
    distances, _ = nearest(features, reals.features, 1)
    chosen = distances[:, 0].argsort()[:SHOWN]
    _, places = nearest(features[chosen], reals.features, NEIGHBOURS)
    rows = [torch.cat([fakes.pixels[n : n + 1], measure.data.images(row)]) for n, row in zip(chosen, places, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    image_grid(torch.cat(rows), 1 + places.shape[1], SCALE, row_names=[f"{distances[n, 0]:.3g}" for n in chosen]).save(path)
    return True
