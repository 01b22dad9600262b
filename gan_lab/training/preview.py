"""Looking at the generator: the same latents again and again."""

from __future__ import annotations

import io
from pathlib import Path

from torch import Tensor

from gan_lab.data.images import grid
from gan_lab.data.stream import Stream
from gan_lab.directory import RunDirectory, write_atomically


class Preview:
    """Sample grids of a run.

    Args:
        directory: where they go.
        latents: fixed, ``[N, latent_size]``; part of the checkpoint.
        columns: images in a row, None for a square grid.
        scale: enlargement of each pixel.
    """

    def __init__(self, directory: RunDirectory, latents: Tensor, columns: int | None, scale: int) -> None:
        self.latents = latents
        self._directory, self._columns, self._scale = directory, columns, scale

    def save_samples(self, images: Tensor, images_seen: int) -> Path:
        """uint8 ``images`` as the grid of this moment and, for now, the final one."""
        path = self._save(images, self._directory.preview(images_seen))
        write_atomically(self._directory.final, path.read_bytes())
        return path

    def drop_after(self, images_seen: int) -> None:
        """Remove grids of a future that a resume from an earlier checkpoint will not have."""
        for path in self._directory.previews():
            if path > self._directory.preview(images_seen):
                path.unlink()

    def save_reals(self, stream: Stream) -> Path:
        """As many real images as samples, the first of the first epoch."""
        order, _ = stream.order(0)
        return self._save(stream.data.images(order[: len(self.latents)]), self._directory.reals)

    def _save(self, images: Tensor, path: Path) -> Path:
        buffer = io.BytesIO()
        grid(images, self._columns, self._scale).save(buffer, format="PNG")
        write_atomically(path, buffer.getvalue())
        return path
