"""Looking at the generator: the same latents, or the same pictures, again and again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import BatchLoader
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import image_grid, upsample_nearest


@dataclass
class SampleGrid:
    """Sample grids of a run; of a conditional one each row has a class.

    Attributes:
        directory: where they go.
        latents: fixed, ``[N, latent_size]``; part of the checkpoint.
        labels: fixed, ``[N, K]``, also part of it; None without conditioning.
        rows: the class of each row, empty without conditioning.
        columns: images in a row, None for a square grid.
        scale: enlargement of each pixel.
    """

    directory: RunDirectory
    latents: Tensor
    labels: Tensor | None
    row_names: tuple[str, ...]
    columns: int | None
    scale: int

    def save_samples(self, images: Tensor, images_seen: int) -> Path:
        """uint8 ``images`` as the grid of this moment and, for now, the final one."""
        path = self._save(images, self.directory.sample_grid(images_seen))
        write_atomically(self.directory.final, path.read_bytes())
        return path

    def discard_after(self, images_seen: int) -> None:
        """Remove grids of a future that a resume from an earlier checkpoint will not have."""
        for path in self.directory.sample_grids():
            if path > self.directory.sample_grid(images_seen):
                path.unlink()

    def save_reals(self, stream: BatchLoader) -> Path:
        """As many real images as samples, the first of the first epoch, or for each row the first of its class."""
        order, _ = stream.epoch_permutation(0)
        if self.row_names:
            left_out = torch.arange(len(stream.data))  # of the first epoch; there may be a whole class among them
            order = torch.cat([self._first_of(name, torch.cat([order, left_out]), stream.data) for name in self.row_names])
        return self._save(stream.data.images(order[: len(self.latents)]), self.directory.reals)

    def _first_of(self, name: str, order: Tensor, data: ImageDataset) -> Tensor:
        labels, number = data.labels_of(order), data.classes.index(name)
        assert labels is not None and self.columns is not None
        found = order[(labels[:, number] == 1) if data.multi_label else (labels == number)][: self.columns]
        return found.repeat(-(-self.columns // len(found)))[: self.columns]

    def _save(self, images: Tensor, path: Path) -> Path:
        buffer = io.BytesIO()
        image_grid(images, self.columns, self.scale, row_names=self.row_names).save(buffer, format="PNG")
        write_atomically(path, buffer.getvalue())
        return path


COLUMNS = ("small", "bicubic", "generated", "original")


@dataclass
class ComparisonGrid(SampleGrid):
    """Pictures made small, enlarged by interpolation and by the generator, beside the originals; one in a row.

    Attributes:
        latents: the small ones, ``[N, C, h, w]`` in [-1, 1].
        low, bicubic, high: uint8 pictures for the other columns.
    """

    low_resolution: Tensor
    bicubic: Tensor
    high_resolution: Tensor

    def save_samples(self, images: Tensor, images_seen: int) -> Path:
        """uint8 ``images`` between the others."""
        low = upsample_nearest(self.low_resolution, self.high_resolution.shape[-1])
        cells = torch.stack([low, self.bicubic, images.cpu(), self.high_resolution], 1).flatten(0, 1)
        return super().save_samples(cells, images_seen)

    def save_reals(self, stream: BatchLoader) -> Path:
        """The originals."""
        return self._save(self.high_resolution, self.directory.reals, None, ())

    def _save(self, images: Tensor, path: Path, columns: int | None = len(COLUMNS), names: Sequence[str] = COLUMNS) -> Path:
        buffer = io.BytesIO()
        image_grid(images, columns, self.scale, column_names=names).save(buffer, format="PNG")
        write_atomically(path, buffer.getvalue())
        return path
