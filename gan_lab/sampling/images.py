"""Writes images generated from random latents: a grid, and single files."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab.models.draws import parse_seeds
from gan_lab.runs.run import Run
from gan_lab.sampling.output import classes_of, file_prefixes, show, singles_and_grid
from gan_lab.sampling.singles import write_singles
from gan_lab.utils.formatting import format_count
from gan_lab.utils.image_ops import image_grid
from gan_lab.utils.suggestions import as_typed
from gan_lab.utils.terminal import progress_bar

MAX_IN_GRID = 1024
"""Images in the grid; of more, the first ones."""


def write_images(run: Run, cfg: DictConfig) -> None:
    """Write ``count`` images of the seed, or the first image of each of ``seeds``, with ``classes`` as many of each.

    Raises:
        ValueError: a value is out of range, or a file exists.
    """
    classes = classes_of(cfg)
    singles, grid = singles_and_grid(run, cfg)
    numbers = list(range(cfg.count)) if cfg.seeds is None else parse_seeds(str(cfg.seeds))
    options = {"batch_size": cfg.batch_size, "classes": classes, "truncation": cfg.truncation}
    if cfg.seeds is None:
        batches = run.sample_batches(cfg.count, cfg.seed, **options)
    else:
        batches = run.sample_batches(1, numbers, **options)
    total = len(numbers) * max(1, len(classes))
    prefixes, digits = file_prefixes(classes) or [""], len(str(max(numbers)))
    shown: list[Tensor] = []

    def named() -> Iterator[tuple[str, Tensor]]:
        with progress_bar("sampling", "images") as progress:
            for position, image in enumerate(image for batch in batches for image in batch):
                if position < MAX_IN_GRID:
                    shown.append(image)
                kind, number = divmod(position, len(numbers))
                yield f"{prefixes[kind]}{numbers[number]:0{digits}d}.png", image
                progress(position + 1, total)

    if cfg.singles:
        write_singles(named(), singles)
    else:
        for _ in named():
            pass
    columns = len(numbers) if classes and cfg.columns is None else cfg.columns
    names = [as_typed(name) for name in classes] if columns == len(numbers) and len(shown) == total else []
    grid.parent.mkdir(parents=True, exist_ok=True)
    picture = image_grid(torch.stack(shown), columns, cfg.scale, row_names=names)
    picture.save(grid)
    show(picture, shown[0].shape[-1], cfg)
    what = "grid" if len(shown) == total else f"grid of the first {len(shown):,}"
    where = f"{what} {grid}" + (f", single images in {singles}" if cfg.singles else "")
    print(f"{format_count(total, 'image')} of {run.directory.path} at {run.images_seen:,} images seen: {where}")
