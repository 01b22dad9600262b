"""Writes a grid of images with mixed styles."""

from __future__ import annotations

import math

from omegaconf import DictConfig

from gan_lab.runs.run import Run
from gan_lab.runs.style_mixing import mix_styles
from gan_lab.sampling.output import classes_of, show, singles_and_grid
from gan_lab.utils.image_ops import image_grid
from gan_lab.utils.suggestions import as_names


def write_mixed(run: Run, cfg: DictConfig) -> None:
    """Write the grid.

    Raises:
        ValueError: there are no such layers or classes, or the file exists.
    """
    layers, classes = as_names(cfg.style_mixing, "style_mixing") or [], classes_of(cfg)
    if len(classes) > 1 or not all(isinstance(layer, int) for layer in layers):
        raise ValueError("style_mixing: takes numbers of layers, such as [0,1,2,3], and at most one class")
    _, grid = singles_and_grid(run, cfg)
    columns = cfg.columns or max(1, math.isqrt(cfg.count))
    rows, name = max(1, cfg.count // columns), classes[0] if classes else None
    numbers = [layer for layer in layers if isinstance(layer, int)]
    images = mix_styles(run, numbers, rows, columns, cfg.seed, cfg.batch_size, name=name, truncation=cfg.truncation)
    grid.parent.mkdir(parents=True, exist_ok=True)
    picture = image_grid(images, columns + 1, cfg.scale)
    picture.save(grid)
    show(picture, images.shape[-1], cfg)
    print(f"styles of {rows} and {columns} images of {run.directory.path}, mixed: {grid}")
