"""A run as an object: ``Run.open(path).sample(16)``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gan_lab.building.networks import build_generator
from gan_lab.config import instantiate, read_config
from gan_lab.models.base import Generator
from gan_lab.models.labels import labels_from_state
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.models.standing_statistics import accumulate_standing_statistics
from gan_lab.models.tiling import TILE, upscale_tiled
from gan_lab.models.upscaler import Upscaler
from gan_lab.runs.upscaling import TiledUpscaler
from gan_lab.runtime.device import choose_device
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import to_uint8, upsample_nearest

CHECKPOINTS = ("last", "best", "pretrained")


class Run:
    """A run directory opened for use; needs neither the data set nor Hydra's command line.

    Attributes:
        directory: its files.
        config: its resolved configuration.
        generator: the sampling generator in evaluation mode, without gradients.
        latents: the source of its input.
        labels: the source of its labels; of a conditional generator ``labels.names`` are the classes.
        images_seen: of the checkpoint it was loaded from.
    """

    def __init__(self, directory: RunDirectory, which: str, device: torch.device) -> None:
        self.directory = directory
        self.config = read_config(directory)
        self.device = device
        state = checkpoint.load(directory.checkpoint(which))
        self.images_seen: int = state["images"]
        latents = self.config.model.latents
        self.latents: NormalLatents | NoLatents = NoLatents() if latents is None else instantiate(latents, "model.latents")
        self.labels = labels_from_state(state["labels"])
        self.generator: Generator = build_generator(self.config)
        try:
            self.generator.load_state_dict(state["generator_ema"])
        except RuntimeError as error:
            raise ValueError(
                f"{directory.checkpoint(which)} does not fit {directory.config}: {str(error).splitlines()[0]}"
            ) from error
        self.generator.to(device).eval().requires_grad_(False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], checkpoint: str = "last", device: str = "cpu") -> Run:
        """Open a finished, a stopped or a running run.

        Args:
            path: the run directory, or ``latest``.
            checkpoint: ``last``, ``best``, or ``pretrained``, before the game began.
            device: where the generator goes: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            ValueError: no run there, no such checkpoint yet, a damaged one, or no such device.
        """
        if checkpoint not in CHECKPOINTS:
            raise ValueError(f"checkpoint={checkpoint}: must be one of {', '.join(CHECKPOINTS)}")
        return cls(RunDirectory.find(path), checkpoint, choose_device(device))

    def sample(
        self,
        count: int,
        seed: int = 0,
        batch_size: int = 64,
        *,
        classes: Sequence[str | int] = (),
        truncation: float | None = None,
    ) -> Tensor:
        """Images, uint8 ``[N, C, H, W]`` on the CPU; from the same latents for the same seed on every device.

        Args:
            count: how many; with ``classes`` in each of them.
            seed: of latents and labels.
            batch_size: images at a time.
            classes: names or numbers, in the order of the images; of a conditional generator without them labels are as
                frequent as in the training data. Of attributes ``Smiling``, or ``-Smiling`` for those without.
            truncation: largest absolute value of a latent; None leaves the normal distribution whole.

        Raises:
            ValueError: a number out of range, no such class, or a generator that knows no classes.
        """
        if count < 1 or batch_size < 1:
            raise ValueError(f"count={count} and batch_size={batch_size} must be at least 1")
        self._check_truncation(truncation)
        random = torch.Generator().manual_seed(seed)
        latents = self.latents.sample(count * max(1, len(classes)), self.device, random, truncation)
        labels = self.labels.for_classes(classes, count, random) if classes else self.labels.sample(count, self.device, random)
        with torch.no_grad():
            return torch.cat([to_uint8(self.generator(*part)).cpu() for part in self._parts(latents, labels, batch_size)])

    @property
    def upscaler(self) -> Upscaler:
        """The generator of a run that enlarges pictures.

        Raises:
            ValueError: it draws from latents.
        """
        if not isinstance(self.generator, Upscaler):
            raise ValueError(f"{self.directory.path} draws images from latents; it can't enlarge a picture")
        return self.generator

    def upscale(self, picture: Tensor) -> Tensor:
        """A uint8 picture ``[C, h, w]`` of any size, ``upscaler.scale`` times as large, on the CPU."""
        return upscale_tiled(self.upscaler, picture, self.device)

    def tiled_upscaler(self, tile: int = TILE) -> TiledUpscaler:
        """What enlarges Pillow's pictures of any mode: ``run.enlarger().picture(Image.open("photo.jpg"))``."""
        if tile < 1:
            raise ValueError(f"tile={tile}: must be at least 1 pixel")
        return TiledUpscaler(self.upscaler, self.config.dataset.channels, self.device, tile)

    def sample_for_evaluation(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Images as an evaluation wants them: on the run's device, at the data's size, from latents drawn with ``random``.

        Returns:
            uint8 ``[count, C, size, size]``, and their class numbers ``[count]`` int64, or None where there are no classes.
        """
        latents = self.latents.sample(count, self.device, random)
        labels = self.labels.sample(count, self.device, random)
        with torch.no_grad():
            images = upsample_nearest(to_uint8(self.generator(latents, labels)), self.config.dataset.size)
        return images, self.labels.class_indices(labels)

    def use_standing_statistics(
        self, batches: int, batch_size: int = 64, seed: int = 0, truncation: float | None = None
    ) -> bool:
        """Give batch normalisation standing statistics: see :mod:`gan_lab.models.standing_statistics`.

        Returns:
            Whether the generator has any batch normalisation.
        """
        if batches < 1 or batch_size < 2:
            raise ValueError(f"standing_statistics={batches} must be at least 1, and batch_size={batch_size} at least 2")
        self._check_truncation(truncation)
        random = torch.Generator().manual_seed(seed)

        def draw(count: int) -> tuple[Tensor, Tensor | None]:
            latents = self.latents.sample(count, self.device, random, truncation)
            return latents, self.labels.sample(count, self.device, random)

        return accumulate_standing_statistics(self.generator, draw, batches, batch_size)

    def _check_truncation(self, truncation: float | None) -> None:
        if truncation is not None and self.generator.normalizes_latents:
            raise ValueError(
                "truncation: this generator takes the direction of its latents alone, which truncation leaves as it is"
            )

    def _parts(self, latents: Tensor, labels: Tensor | None, batch_size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, len(latents), batch_size):
            part = slice(start, start + batch_size)
            yield latents[part], None if labels is None else labels[part].to(self.device)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``."""
        return self.directory.history()

    @property
    def summary(self) -> dict[str, Any]:
        """``summary.json``."""
        return self.directory.read_summary()
