"""Super-resolution: high-resolution images from low-resolution ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gan_lab.building.datasets import build_dataset, load_dataset
from gan_lab.building.full_reference import build_full_reference_metrics
from gan_lab.building.tasks.base import Task
from gan_lab.config import Job, instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.datasets.folder import load_whole_images
from gan_lab.data.degradation import Degradation, upscale_bicubic
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.patch_loader import PatchLoader, check_patches, check_sides
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.precision import Precision
from gan_lab.metrics.full_reference_suite import FullReferenceSuite, SuperResolutionExample
from gan_lab.models.latents import NoLatents
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.overfitting import NoOverfittingEstimate
from gan_lab.training.sample_grid import ComparisonGrid
from gan_lab.utils.image_ops import normalize

MAX_HELD_OUT_FRACTION = 0.2
"""Largest fraction of the images that may be held out from training."""


@dataclass(frozen=True)
class DegradedImages:
    """Whole images with their degraded versions, which are the same on every access.

    Attributes:
        data: the originals.
        degradation: computes the low-resolution images.
        names: one for each image, stored with scores.
        title: number and origin of the images, stored with scores.
        file_name: the file of an image by its number, for messages.
    """

    data: ImageDataset
    degradation: Degradation
    names: Sequence[str]
    title: str
    file_name: Callable[[int], str] = "image {}".format

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> SuperResolutionExample:
        high = self.degradation.crop_to_multiple(self.data.image(number))
        return self._pair(high, number)

    def center_patch(self, number: int, side: int) -> SuperResolutionExample:
        """The central square of an image, ``side`` pixels wide, with its degraded versions."""
        high = self.degradation.crop_to_multiple(self.data.image(number))
        top, left = ((length - side) // 2 for length in high.shape[1:])
        return self._pair(high[:, top : top + side, left : left + side], number)

    def _pair(self, high: torch.Tensor, number: int) -> SuperResolutionExample:
        low = self.degradation(high, torch.Generator().manual_seed(number))
        return SuperResolutionExample(high, low, upscale_bicubic(low, self.degradation.scale))


class SuperResolution(Task):
    """The task of upscalers: they are trained on patches and evaluated on whole images."""

    def __init__(self, cfg: DictConfig) -> None:
        if cfg.model.latents is not None:
            raise ValueError(
                "degradation: this generator samples from latents and takes no images; use an upscaler, such as model=srgan"
            )
        if cfg.evaluation.metrics:
            raise ValueError(
                "evaluation: super-resolution is evaluated by full-reference metrics, not by Fréchet distances; use "
                "evaluation=pairs or evaluation=none"
            )
        section = cfg.degradation
        if missing := next((key for key in ("patch", "preview") if section[key] is None), None):
            raise ValueError(f"degradation.{missing}=null: must be a whole number, the side of a picture in pixels")
        super().__init__(cfg)
        steps = {str(name): instantiate(node, f"degradation.steps.{name}") for name, node in section.steps.items()}
        self.degradation = Degradation(steps, section.scale)
        check_patches(self.image_size, section.scale, section.patches)
        if section.preview < section.scale:
            raise ValueError(f"degradation.preview={section.preview}: must be at least degradation.scale={section.scale}")

    @cached_property
    def _parts(self) -> tuple[ImageDataset, DegradedImages]:
        """Images for training, and other images for evaluation and sample grids."""
        data, cfg, stored = load_dataset(self._builder), self._cfg, self._builder
        self._check_sides(data, stored)
        if cfg.evaluation.get("reals") is not None:
            return data, self._load_images(cfg.evaluation.reals)
        count = (cfg.evaluation.num_reals or len(data)) if cfg.evaluation.pairs else cfg.sample.count
        if len(data.excluded_index):
            held_out, title = data.excluded(), "left out by dataset.limit"
        elif self._builder.split == "train" and "test" in self._builder.splits:
            stored = build_dataset(cfg, split="test", limit=None)
            held_out, title = load_dataset(stored), "of the test split"
        else:
            kept = min(count, int(MAX_HELD_OUT_FRACTION * len(data)))
            if kept < 1:
                raise ValueError(
                    f"dataset: {len(data)} images are too few to hold some out for evaluation; add images, or set "
                    "evaluation.reals to a folder of others"
                )
            data = data.random_subset(len(data) - kept, cfg.seed)
            held_out, title = data.excluded(), "kept back from training"  # stored with scores: do not change
        self._check_sides(held_out, stored)
        held_out = held_out.random_subset(count, cfg.seed)
        names = [f"picture {number}" for number in held_out.index]
        title = f"{len(held_out)} pictures of {self._builder.name} {title}"  # likewise
        index = held_out.index
        return data, DegradedImages(
            held_out, self.degradation, names, title, lambda number: stored.stored_name(int(index[number]))
        )

    def _load_images(self, path: str) -> DegradedImages:
        data, names = load_whole_images("reals", path, self._cfg.dataset.channels)
        check_sides(data.sizes, self.degradation.scale, lambda number: f"{names[number]} in reals={path}")
        return DegradedImages(
            data, self.degradation, names, f"{len(data)} pictures of {Path(path).name}", lambda number: names[number]
        )

    def _check_sides(self, data: ImageDataset, stored: DatasetBuilder) -> None:
        check_sides(data.sizes, self.degradation.scale, lambda number: stored.stored_name(int(data.index[number])))

    @property
    def data(self) -> ImageDataset:
        return self._parts[0]

    def loader(self, precision: Precision, processes: SingleProcess) -> PatchLoader:
        """Patches and their low-resolution versions."""
        section = self._cfg.degradation
        return PatchLoader(
            **self._loader_arguments(precision, processes),
            degradation=self.degradation,
            size=self.image_size,
            patches_per_image=section.patches,
            random_flip_rot=section.random_flip_rot,
        )

    def latents(self) -> NoLatents:
        return NoLatents()

    @property
    def image_size(self) -> int:
        return int(self._cfg.degradation.patch)

    def training_suite(self) -> FullReferenceSuite:
        return self._suite_of(self._parts[1])

    def suite(self, reals: str | None = None) -> FullReferenceSuite:
        """The evaluation on ``reals``, a folder, zip or array of images, or else on the images held out from training."""
        return self.training_suite() if reals is None else self._suite_of(self._load_images(reals))

    def _suite_of(self, images: DegradedImages) -> FullReferenceSuite:
        cfg, scale = self._cfg.evaluation, self.degradation.scale
        sides = images.data.sizes.min(1) // scale * scale
        record = {
            "reals": images.title,
            "reals_hash": images.data.fingerprint(),
            "scale": scale,
            "degradation": _format_steps(self._cfg.degradation.steps),
            "colours": images.data.channels,  # a stored key: do not change
        }
        metrics = build_full_reference_metrics(self._cfg, scale, sides.tolist(), images.file_name)
        return FullReferenceSuite(images, images.names, metrics, cfg.score if metrics else None, record)

    def overfitting_estimate(self, gan: GAN, device: torch.device) -> NoOverfittingEstimate:
        """None is needed: the scores themselves are measured on held-out images."""
        return NoOverfittingEstimate()

    def sample_grid(self, job: Job, gan: GAN, device: torch.device) -> ComparisonGrid:
        """A grid of the centers of some images, all as large as the smallest one allows; images below the preview come last."""
        images, preview, scale = self._parts[1], self._cfg.degradation.preview, self.degradation.scale
        sides = images.data.sizes.min(1)
        chosen = sorted(range(len(images)), key=lambda number: bool(sides[number] < preview))[: job.cfg.sample.count]
        side = min(preview, int(sides[chosen].min())) // scale * scale
        examples = [images.center_patch(number, side) for number in chosen]
        high, low, bicubic = (
            torch.stack(part)
            for part in zip(*((e.high_resolution, e.low_resolution, e.bicubic) for e in examples), strict=True)
        )
        latents = normalize(low).to(device)
        return ComparisonGrid(job.directory, latents, None, (), None, job.cfg.sample.scale, low, bicubic, high)

    def facts(self) -> dict[str, str]:
        """Text by heading, for the first lines on the console."""
        section, scale = self._cfg.degradation, self.degradation.scale
        small, large = section.patch // scale, section.patch
        patches = f"patches of {large}x{large}, {section.patches} per image and epoch"
        return {"degradation": f"{patches}, degraded to {small}x{small} by {_format_steps(section.steps)}"}


def _format_steps(steps: DictConfig) -> str:
    """The degradation steps with their parameters, in one line."""
    plain: Any = OmegaConf.to_container(steps, resolve=True)
    parts = []
    for name, node in plain.items():
        numbers = [f"{key} {_format_value(value)}" for key, value in node.items() if key not in ("_target_", "scale")]
        parts.append(" ".join([name, *numbers]))
    return ", ".join(parts)


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(f"{v:g}" for v in dict.fromkeys(value))
    return str(dict(value)) if isinstance(value, Mapping) else str(value)
