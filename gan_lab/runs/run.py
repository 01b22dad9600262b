"""Access to a run directory from Python: ``Run.open(path).sample(16)``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gan_lab.building.networks import build_discriminator, build_generator
from gan_lab.config import instantiate, read_config
from gan_lab.models.base import Discriminator, Generator
from gan_lab.models.draws import draw_seeds
from gan_lab.models.labels import labels_from_state
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.models.standing_statistics import accumulate_standing_statistics
from gan_lab.models.tiling import TILE, upscale_tiled
from gan_lab.models.upscaler import Upscaler
from gan_lab.runs.upscaling import TiledUpscaler
from gan_lab.runtime.device import choose_device
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory, check_checkpoint_name
from gan_lab.storage.weights_file import load_weights
from gan_lab.utils.image_ops import image_grid, to_uint8, upsample_nearest
from gan_lab.utils.suggestions import Typed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from PIL.Image import Image

    from gan_lab.metrics.perceptual_networks import PerceptualNetwork
    from gan_lab.runs.projection import Found


class Run:
    """The generator of a run, loaded from a checkpoint; needs neither the dataset nor a Hydra command.

    Attributes:
        directory: the files of the run.
        checkpoint: the name of the open checkpoint.
        config: the resolved configuration.
        device: the generator's device.
        generator: the generator (its EMA weights) in evaluation mode, without gradients.
        latents: samples its latents.
        labels: samples its labels; ``labels.names`` are the classes of a conditional generator.
        images_seen: number of real images it had been trained on when the checkpoint was saved.
    """

    def __init__(self, directory: RunDirectory, which: str, device: torch.device) -> None:
        self.directory, self.checkpoint = directory, which
        self.config = read_config(directory)
        self.device = device
        state = _read_generator(directory, which)
        self.images_seen: int = state["images"]
        latents = self.config.model.latents
        self.latents: NormalLatents | NoLatents = NoLatents() if latents is None else instantiate(latents, "model.latents")
        self.labels = labels_from_state(state["labels"])
        self.generator: Generator = build_generator(self.config)
        try:
            self.generator.load_state_dict(state["generator_ema"])
        except RuntimeError as error:
            raise ValueError(
                f"{directory.checkpoint(which)} does not match {directory.config}: {str(error).splitlines()[0]}"
            ) from error
        self.generator.to(device).eval().requires_grad_(False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], checkpoint: str = "last", device: str = "cpu") -> Run:
        """Open a finished, interrupted or running run, or a folder that ``gan_lab.export`` wrote.

        Args:
            path: the folder, or ``latest``.
            checkpoint: ``last``, ``last-1`` (the one before it), ``best``, ``pretrained`` (before adversarial training), or one
                of those kept by ``checkpoint.keep_every_kimg``, such as ``images-000064000``.
            device: the generator's device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            ValueError: there is no run at ``path``, the checkpoint is missing or damaged, or there is no such device.
        """
        check_checkpoint_name("checkpoint", checkpoint)
        return cls(RunDirectory.find(path), checkpoint, choose_device(device))

    def sample(
        self,
        count: int,
        seed: int = 0,
        batch_size: int = 64,
        *,
        classes: Sequence[Typed] = (),
        truncation: float | None = None,
    ) -> Tensor:
        """Generate images, uint8 ``[N, C, H, W]`` on the CPU.

        Image n of a seed, and of a class if ``classes`` are given, has the same latents on every device, whatever ``count``,
        ``batch_size`` and the other classes are.

        Args:
            count: number of images; with ``classes``, of each class.
            seed: of latents and labels.
            batch_size: images per forward pass.
            classes: names or numbers, in the order of the images: ``count`` of the first class, then of the second. For
                attributes ``Smiling``, or ``-Smiling`` for images without it. Empty: labels with the frequencies of the
                training data.
            truncation: largest absolute value of a latent; None: no truncation of the normal distribution. Of a generator with
                styles: the factor, in (0, 1], of their distance from their average.

        Raises:
            ValueError: a number is out of range, there is no such class, or the generator is unconditional.
        """
        return torch.cat(list(self.sample_batches(count, seed, batch_size, classes=classes, truncation=truncation)))

    def sample_batches(
        self,
        count: int,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        *,
        classes: Sequence[Typed] = (),
        truncation: float | None = None,
    ) -> Iterator[Tensor]:
        """As :meth:`sample`, batch by batch. Of several seeds: ``count`` images of each, in the order of the seeds."""
        if count < 1 or batch_size < 1:
            raise ValueError(f"count={count} and batch_size={batch_size} must be at least 1")
        self.check_truncation(truncation)
        bound = None if self.generator.truncates_styles else truncation
        seeds = [seed] if isinstance(seed, int) else seed
        latents, labels = draw_seeds(self.latents, self.labels, count, seeds, classes=classes, bound=bound)
        parts = self._parts(latents, labels, batch_size)
        return (self.render(self.styles(*part, truncation), part[1]) for part in parts)

    @torch.no_grad()
    def styles(self, latents: Tensor, labels: Tensor | None, truncation: float | None = None) -> Tensor:
        """The generator's styles of latents, truncated if it has any; see :meth:`gan_lab.models.base.Generator.styles`."""
        styles = self.generator.styles(latents, labels)
        if truncation is None or not self.generator.truncates_styles:
            return styles
        return self.generator.truncate(styles, truncation)

    @torch.no_grad()
    def render(self, styles: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of styles, uint8 on the CPU."""
        return to_uint8(self.generator.render(styles, labels)).cpu()

    @cached_property
    def discriminator(self) -> Discriminator:
        """The discriminator in evaluation mode, without gradients; read from the checkpoint on first use.

        Raises:
            ValueError: the run is an exported folder, or the checkpoint has none.
        """
        path = self.directory.checkpoint(self.checkpoint)
        state = checkpoint.load(path)
        if "discriminator" not in state:
            raise ValueError(f"{path} contains no discriminator")
        discriminator = build_discriminator(self.config)
        discriminator.load_state_dict(state["discriminator"])
        return discriminator.to(self.device).eval().requires_grad_(False)

    def state(self) -> dict[str, Any]:
        """The entries of a checkpoint that sampling needs: ``generator_ema``, ``labels`` and ``images``."""
        return {
            "generator_ema": self.generator.state_dict(),
            "labels": self.labels.state_dict(),
            "images": self.images_seen,
        }

    @property
    def upscaler(self) -> Upscaler:
        """The generator of a super-resolution run.

        Raises:
            ValueError: the generator takes latents.
        """
        if not isinstance(self.generator, Upscaler):
            raise ValueError(f"{self.directory.path} generates images from latents; it can't upscale an image")
        return self.generator

    def upscale(self, image: Tensor) -> Tensor:
        """Upscale a uint8 image ``[C, h, w]`` of any size by ``upscaler.scale``; returns uint8 on the CPU."""
        return upscale_tiled(self.upscaler, image, self.device)

    def tiled_upscaler(self, tile: int = TILE) -> TiledUpscaler:
        """Upscales Pillow images of any mode: ``run.tiled_upscaler().upscale(Image.open("photo.jpg"))``.

        Args:
            tile: side of a tile of the input, in pixels; smaller tiles need less memory.
        """
        if tile < 1:
            raise ValueError(f"tile={tile}: must be at least 1 pixel")
        return TiledUpscaler(self.upscaler, self.config.dataset.channels, self.device, tile)

    def sample_for_evaluation(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Generate images for an evaluation, with latents and labels from ``random``.

        Returns:
            Images on the run's device, uint8 ``[count, C, size, size]`` with the size of the dataset, and their class indices,
            int64 ``[count]``, or None without classes.
        """
        latents = self.latents.sample(count, self.device, random)
        labels = self.labels.sample(count, self.device, random)
        with torch.no_grad():
            images = upsample_nearest(to_uint8(self.generator(latents, labels)), self.config.dataset.size)
        return images, self.labels.class_indices(labels)

    def use_standing_statistics(
        self, batches: int, batch_size: int = 64, seed: int = 0, truncation: float | None = None
    ) -> bool:
        """Replace the running statistics of batch norm by averages over ``batches`` generated batches.

        See :mod:`gan_lab.models.standing_statistics`.

        Returns:
            Whether the generator has batch norm layers.
        """
        if batches < 1 or batch_size < 2:
            raise ValueError(f"standing_statistics={batches} must be at least 1, and batch_size={batch_size} at least 2")
        self.check_truncation(truncation)
        random = torch.Generator().manual_seed(seed)

        def draw(count: int) -> tuple[Tensor, Tensor | None]:
            latents = self.latents.sample(count, self.device, random, truncation)
            return latents, self.labels.sample(count, self.device, random)

        return accumulate_standing_statistics(self.generator, draw, batches, batch_size)

    def check_truncation(self, truncation: float | None) -> None:
        """Raise ValueError if this generator's samples can't be truncated like that."""
        if truncation is not None and self.generator.truncates_styles and not 0 < truncation <= 1:
            raise ValueError(f"truncation={truncation}: of a generator with styles it must lie in (0, 1]; 1 changes nothing")
        if truncation is not None and self.generator.normalizes_latents:
            raise ValueError(
                f"truncation={truncation}: this generator normalizes its latents, so truncation has little effect; leave it out"
            )

    def _parts(self, latents: Tensor, labels: Tensor | None, batch_size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, len(latents), batch_size):
            part = slice(start, start + batch_size)
            yield latents[part].to(self.device), None if labels is None else labels[part].to(self.device)

    def walk(
        self,
        kind: str = "loop",
        frames: int = 240,
        *,
        count: int = 1,
        keyframes: int = 6,
        seed: int = 0,
        classes: Sequence[Typed] = (),
        truncation: float | None = None,
        out: str | os.PathLike[str] | None = None,
        fps: float = 30,
    ) -> Tensor:
        """Walk through the latent space, as ``gan-sample walk=...`` does.

        Args:
            kind: ``line``, ``loop``, ``random`` or ``classes``.
            frames: number of frames.
            count: images that walk side by side.
            keyframes: images that each passes; of a random walk, its oscillations.
            seed, classes, truncation: as in :meth:`sample`; only ``classes`` passes several.
            out: a file that the frames are also written to as a film: ``.webp``, ``.gif`` or ``.mp4``.
            fps: frames per second of that film.

        Returns:
            uint8 ``[frames, count, C, H, W]`` on the CPU.

        Raises:
            ValueError: there is no such walk or class, a number is out of range, or ``out`` has another ending.
        """
        from gan_lab.runs.video import check_video, write_video
        from gan_lab.runs.walks import WalkOptions, walk

        path = None if out is None else Path(out).expanduser()
        if path is not None:
            check_video(path, fps)
        images = torch.stack(list(walk(self, kind, frames, WalkOptions(count, keyframes, seed, classes, truncation))))
        if path is not None:
            write_video((image_grid(frame, scale=2) for frame in images), path, fps)
        return images

    def project(
        self,
        picture: str | os.PathLike[str] | Image | Tensor,
        *,
        steps: int = 200,
        lr: float = 0.1,
        candidates: int = 512,
        starts: int = 4,
        pixel_weight: float = 10,
        seed: int = 0,
        classes: Sequence[Typed] = (),
        network: PerceptualNetwork | None = None,
    ) -> Found:
        """Search the latent whose image is most like a picture, as ``gan-sample project=...`` does.

        ``run.render(found.styles, found.labels)`` makes its image.

        Args:
            picture: a file, a Pillow image, or uint8 ``[C, H, W]``; cropped to a square and resized.
            steps, lr, candidates, starts, pixel_weight, seed, classes: see
                :class:`gan_lab.runs.projection.ProjectionOptions`.
            network: whose feature maps are compared; None: the untrained one of ``perception=random``.

        Raises:
            ValueError: the picture can't be read, a number is out of range, or the generator enlarges images.
        """
        from gan_lab.metrics.perceptual_networks import RandomPerceptual
        from gan_lab.runs.projection import ProjectionOptions, project, read_target

        options = ProjectionOptions(steps, lr, candidates, starts, pixel_weight, seed, classes)
        return project(self, read_target(picture, self), network or RandomPerceptual(width=32, seed=0), options)

    def evaluate(self, arguments: Sequence[str] = ()) -> dict[str, dict[str, float]]:
        """Score the open checkpoint, as ``gan-evaluate run=...`` does: ``run.evaluate(["evaluation=full"])``.

        Needs the dataset. Writes nothing; the command records its scores.

        Args:
            arguments: what follows the command and its ``run=...``; by default it measures what the training measured.

        Returns:
            For each protocol, such as ``default``, its scores by name.

        Raises:
            ValueError: an argument is wrong, nothing is measured, or data or networks are missing.
        """
        from gan_lab.runs.scoring import evaluate

        return {result.name: dict(result.scores) for result in evaluate(self, arguments)}

    def frame(self) -> DataFrame:
        """The rows of ``metrics.jsonl`` as a pandas table, one column for each metric; NaN where a row has no value.

        Raises:
            ValueError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ValueError("run.frame() needs the package pandas: pip install 'gan_lab[notebook]'") from error
        return DataFrame(self.history)

    def losses(self) -> Figure:
        """Losses and accuracies of both networks against epochs, as a Matplotlib figure."""
        from gan_lab.reporting.plots import losses_and_accuracies  # sampling needs no Matplotlib
        from gan_lab.runs.notebook import show_in_notebooks

        return show_in_notebooks(losses_and_accuracies(self.history))

    def _repr_html_(self) -> str:
        """The run in a notebook: its newest sample grid and its scores."""
        from gan_lab.runs.notebook import run_html

        return run_html(self.directory, self.images_seen)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``."""
        return self.directory.history()

    @property
    def summary(self) -> dict[str, Any]:
        """``summary.json``."""
        return self.directory.read_summary()


def _read_generator(directory: RunDirectory, which: str) -> dict[str, Any]:
    """A checkpoint, or the generator alone of an exported folder.

    Raises:
        ValueError: there is no such file, or it is damaged.
    """
    path = directory.checkpoint(which)
    if which == "last" and not path.is_file() and directory.weights.is_file():
        return load_weights(directory.weights)
    return checkpoint.load_of_run(directory, which)
