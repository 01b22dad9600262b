"""Draws generated images next to their nearest training images, which shows memorization."""

from __future__ import annotations

from pathlib import Path

import torch

from gan_lab.metrics.base import FeatureStats
from gan_lab.metrics.prdc import nearest
from gan_lab.metrics.suite import ProtocolEvaluation
from gan_lab.utils.formatting import format_number
from gan_lab.utils.image_ops import image_grid

NUM_FAKES, NUM_NEIGHBORS, SCALE = 8, 6, 2
"""Rows, training images in a row, and the factor by which images are enlarged."""


def save_nearest(evaluation: ProtocolEvaluation, fakes: FeatureStats, path: Path) -> bool:
    """Save a grid of the fakes that are closest to a real image, one in a row, followed by their nearest real images.

    Each row is labeled with the feature distance to the nearest one.

    Args:
        evaluation: provides the real images and their features.
        fakes: statistics of the generated images.
        path: of the PNG file.

    Returns:
        Whether the grid was saved; it needs the features and the pixels of the fakes.
    """
    reals = evaluation.reals
    if fakes.pixels is None or fakes.features is None or reals is None or reals.features is None:
        return False
    features = fakes.features[: len(fakes.pixels)]  # pixels are kept of the first fakes only
    distances, _ = nearest(features, reals.features, 1)
    chosen = distances[:, 0].argsort()[:NUM_FAKES]
    _, neighbors = nearest(features[chosen], reals.features, NUM_NEIGHBORS)
    rows = [torch.cat([fakes.pixels[n : n + 1], evaluation.data.images(row)]) for n, row in zip(chosen, neighbors, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [format_number(distances[n, 0].item()) for n in chosen]
    image_grid(torch.cat(rows), 1 + neighbors.shape[1], SCALE, row_names=names).save(path)
    return True
