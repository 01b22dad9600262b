"""Looking at the generator: the same latents again and again."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor

from gan_lab.data.images import grid
from gan_lab.data.stream import Stream
from gan_lab.directory import RunDirectory


class Preview:
    """Sample grids of a run.

    Args:
        directory: where they go.
        latents: fixed, ``[N, latent_size]``; part of the checkpoint.
        columns: images in a row, None for a square grid.
        scale: enlargement of each pixel.
    """

    def __init__(self, directory: RunDirectory, latents: Tensor, columns: int | None, scale: int) -> None:
        if scale < 1 or (columns is not None and columns < 1):
            raise ValueError(f"sample: scale={scale} and columns={columns} must be at least 1")
        self.latents = latents
        self._directory, self._columns, self._scale = directory, columns, scale

    def save_samples(self, images: Tensor, images_seen: int) -> Path:
        """uint8 ``images`` as the grid of this moment and, for now, the final one."""
        path = self._save(images, self._directory.preview(images_seen))
        shutil.copyfile(path, self._directory.final)
        return path

    def save_reals(self, stream: Stream) -> Path:
        """As many real images as samples, the first of the first epoch."""
        order, _ = stream.order(0)
        return self._save(stream.data.images(order[: len(self.latents)]), self._directory.reals)

    def _save(self, images: Tensor, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        grid(images, self._columns, self._scale).save(path)
        return path
