"""Sample grids of a run: images generated from the same latents, or low-resolution images, throughout the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import BatchLoader
from gan_lab.storage.files import atomic_file, write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import image_grid, upsample_nearest


@dataclass
class SampleGrid:
    """Draws and saves sample grids; in a conditional run each row has a class.

    Attributes:
        directory: the run directory.
        latents: fixed, ``[N, latent_size]``; part of the checkpoint.
        labels: fixed, ``[N, K]``; part of the checkpoint. None without conditioning.
        row_names: the class of each row; empty without conditioning.
        columns: images in a row; None: a square grid.
        scale: each pixel becomes ``scale`` x ``scale``.
    """

    directory: RunDirectory
    latents: Tensor
    labels: Tensor | None
    row_names: tuple[str, ...]
    columns: int | None
    scale: int

    def state_dict(self) -> dict[str, Any]:
        return {"latents": self.latents, "labels": self.labels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = self.latents.device
        self.latents = state["latents"].to(device)
        self.labels = None if state["labels"] is None else state["labels"].to(device)

    def save_samples(self, images: Tensor, images_seen: int) -> Path:
        """Save uint8 ``images`` as the grid at ``images_seen`` and as ``final.png``."""
        path = self._save(images, self.directory.sample_grid(images_seen))
        write_atomically(self.directory.final, path.read_bytes())
        return path

    def discard_after(self, images_seen: int) -> None:
        """Remove grids from after ``images_seen``, when a run is resumed from an earlier checkpoint."""
        for path in self.directory.sample_grids():
            if path > self.directory.sample_grid(images_seen):
                path.unlink()

    def save_reals(self, loader: BatchLoader) -> Path:
        """Save as many real images as samples: the first of the first epoch, or for each row the first of its class."""
        order, _ = loader.epoch_permutation(0)
        if self.row_names:
            all_images = torch.arange(len(loader.data))  # in case the first epoch has no image of a class
            order = torch.cat([self._first_of(name, torch.cat([order, all_images]), loader.data) for name in self.row_names])
        return self._save(loader.data.images(order[: len(self.latents)]), self.directory.reals)

    def _first_of(self, name: str, order: Tensor, data: ImageDataset) -> Tensor:
        labels, number = data.labels_of(order), data.classes.index(name)
        assert labels is not None and self.columns is not None
        found = order[(labels[:, number] == 1) if data.multi_label else (labels == number)][: self.columns]
        return found.repeat(-(-self.columns // len(found)))[: self.columns]

    def _save(self, images: Tensor, path: Path) -> Path:
        with atomic_file(path) as handle:
            image_grid(images, self.columns, self.scale, row_names=self.row_names).save(handle, format="PNG")
        return path


COLUMNS = ("low resolution", "bicubic", "generated", "original")


@dataclass
class ComparisonGrid(SampleGrid):
    """A grid with one image per row: low resolution, bicubic interpolation, the generator's image, and the original.

    Attributes:
        latents: the low-resolution images, ``[N, C, h, w]`` in [-1, 1].
        low_resolution, bicubic, high_resolution: uint8 images of the other columns.
    """

    low_resolution: Tensor
    bicubic: Tensor
    high_resolution: Tensor

    def save_samples(self, images: Tensor, images_seen: int) -> Path:
        """Save uint8 ``images``, the generator's, as the third column."""
        low = upsample_nearest(self.low_resolution, self.high_resolution.shape[-1])
        cells = torch.stack([low, self.bicubic, images.cpu(), self.high_resolution], 1).flatten(0, 1)
        return super().save_samples(cells, images_seen)

    def save_reals(self, loader: BatchLoader) -> Path:
        """Save the originals."""
        return self._save(self.high_resolution, self.directory.reals, None, ())

    def _save(self, images: Tensor, path: Path, columns: int | None = len(COLUMNS), names: Sequence[str] = COLUMNS) -> Path:
        with atomic_file(path) as handle:
            image_grid(images, columns, self.scale, column_names=names).save(handle, format="PNG")
        return path
