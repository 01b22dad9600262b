"""Large pictures out of small ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gan_lab.building.datasets import build_dataset, load_dataset
from gan_lab.building.tasks.base import Task
from gan_lab.config import Job, instantiate
from gan_lab.data.datasets.folder import load_whole_images
from gan_lab.data.degradation import Degradation, upscale_bicubic
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.patch_loader import PatchLoader
from gan_lab.metrics.full_reference import FullReferenceMetric
from gan_lab.metrics.pair_suite import FullReferenceSuite, ImagePair
from gan_lab.models.latents import NoLatents
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.loss_context import GAN
from gan_lab.training.overfitting import NoOverfittingEstimate
from gan_lab.training.precision import Precision
from gan_lab.training.sample_grid import ComparisonGrid
from gan_lab.utils.image_ops import normalize

log = logging.getLogger(__name__)

OPTIONAL = ("lpips", "perceptual")
"""Metrics that are left out where their network can't be had."""

LARGEST_SHARE = 0.2
"""Of the pictures that may be kept back from training."""


@dataclass(frozen=True)
class DegradedImages:
    """Whole pictures with what the degradation makes of them, the same whenever asked for.

    Attributes:
        data: the originals.
        degradation: see there.
        names: of the pictures.
        title: of all of them.
    """

    data: ImageDataset
    degradation: Degradation
    names: Sequence[str]
    title: str

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> ImagePair:
        high = self.degradation.crop_to_multiple(self.data.image(number))
        return self._of(high, number)

    def center_patch(self, number: int, side: int) -> ImagePair:
        """Of the middle of a picture alone, ``side`` pixels across."""
        high = self.degradation.crop_to_multiple(self.data.image(number))
        top, left = ((length - side) // 2 for length in high.shape[1:])
        return self._of(high[:, top : top + side, left : left + side], number)

    def _of(self, high: torch.Tensor, number: int) -> ImagePair:
        low = self.degradation(high, torch.Generator().manual_seed(number))
        return ImagePair(high, low, upscale_bicubic(low, self.degradation.scale))


class SuperResolution(Task):
    """The task of the upscalers' families: patches to train on, whole pictures to be measured on."""

    def __init__(self, cfg: DictConfig) -> None:
        if cfg.model.latents is not None:
            raise ValueError(
                "degradation: this generator draws from latents and takes no pictures; model=srgan, esrgan and their like do"
            )
        if cfg.evaluation.metrics:
            raise ValueError(
                "evaluation: Frechet distances and their like are of images out of latents; super-resolution is measured by "
                "evaluation=pairs, or evaluation=none"
            )
        super().__init__(cfg)
        section = cfg.degradation
        steps = {str(name): instantiate(node, f"degradation.steps.{name}") for name, node in section.steps.items()}
        self.degradation = Degradation(steps, section.scale)

    @cached_property
    def _parts(self) -> tuple[ImageDataset, DegradedImages]:
        """What is trained on, and what is looked at and measured: never the same pictures."""
        data, cfg = load_dataset(self._source), self._cfg
        if cfg.evaluation.get("reals") is not None:
            return data, self._pictures_of(cfg.evaluation.reals)
        count = (cfg.evaluation.num_reals or len(data)) if cfg.evaluation.pairs else cfg.sample.count
        if len(data.excluded_index):
            others, title = data.excluded(), "left out by dataset.limit"
        elif self._source.split == "train" and "test" in self._source.splits:
            others, title = load_dataset(build_dataset(cfg, split="test", limit=None)), "of the test split"
        else:
            kept = min(count, int(LARGEST_SHARE * len(data)))
            if kept < 1:
                raise ValueError(
                    f"dataset: of {len(data)} pictures none can be kept back to be measured on; add some, or give others by "
                    "evaluation.reals=folder"
                )
            data = data.random_subset(len(data) - kept, cfg.seed)
            others, title = data.excluded(), "kept back from training"
        others = others.random_subset(count, cfg.seed)
        names = [f"picture {number}" for number in others.index]
        return data, DegradedImages(others, self.degradation, names, f"{len(others)} pictures of {self._source.name} {title}")

    def _pictures_of(self, path: str) -> DegradedImages:
        data, names = load_whole_images("reals", path, self._cfg.dataset.channels)
        return DegradedImages(data, self.degradation, names, f"{len(data)} pictures of {Path(path).name}")

    @property
    def data(self) -> ImageDataset:
        return self._parts[0]

    def loader(self, precision: Precision, ranks: SingleProcess) -> PatchLoader:
        """Patches, with the small ones made of them."""
        section = self._cfg.degradation
        return PatchLoader(
            **self._loader_arguments(precision, ranks),
            degradation=self.degradation,
            size=self.image_size,
            per_picture=section.patches,
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
        """On the pictures of a folder, a zip or an array, or on those that the training measured on."""
        return self.training_suite() if reals is None else self._suite_of(self._pictures_of(reals))

    def _suite_of(self, pictures: DegradedImages) -> FullReferenceSuite:
        cfg, scale = self._cfg.evaluation, self.degradation.scale
        smallest = int(pictures.data.sizes.min()) // scale * scale
        record = {
            "reals": pictures.title,
            "reals_hash": pictures.data.fingerprint(),
            "scale": scale,
            "degradation": _spell(self._cfg.degradation.steps),
            "colours": pictures.data.channels,
        }
        metrics = build_pair_metrics(self._cfg, scale, smallest)
        return FullReferenceSuite(pictures, pictures.names, metrics, cfg.score if metrics else None, record)

    def overfitting_estimate(self, game: GAN, device: torch.device) -> NoOverfittingEstimate:
        """Overfitting shows in the scores of pictures that were never trained on."""
        return NoOverfittingEstimate()

    def sample_grid(self, job: Job, game: GAN, device: torch.device) -> ComparisonGrid:
        """The middles of some pictures, as large as the smallest of them allows."""
        pictures, section = self._parts[1], self._cfg.degradation
        count = min(job.cfg.sample.count, len(pictures))
        scale = self.degradation.scale
        side = min(section.preview, int(pictures.data.sizes[:count].min())) // scale * scale
        if side < scale:
            raise ValueError(f"degradation.preview={section.preview}: must be at least degradation.scale={scale}")
        examples = [pictures.center_patch(number, side) for number in range(count)]
        high, low, bicubic = (
            torch.stack(part)
            for part in zip(*((e.high_resolution, e.low_resolution, e.bicubic) for e in examples), strict=True)
        )
        latents = normalize(low).to(device)
        return ComparisonGrid(job.directory, latents, None, (), None, job.cfg.sample.scale, low, bicubic, high)

    def facts(self) -> dict[str, str]:
        """For the first lines of a run."""
        section, scale = self._cfg.degradation, self.degradation.scale
        small, large = section.patch // scale, section.patch
        patches = f"patches of {large}x{large}, {section.patches} of each picture in an epoch"
        return {"small": f"{patches}, made {small}x{small} by {_spell(section.steps)}"}


def build_pair_metrics(cfg: DictConfig, border: int, smallest: int) -> dict[str, FullReferenceMetric]:
    """Those of ``cfg.evaluation.pairs``.

    Args:
        cfg: with ``evaluation``.
        border: left out along each edge, unless the configuration says how much.
        smallest: side of the smallest picture: networks that take larger ones are left out.
    """
    metrics: dict[str, FullReferenceMetric] = {}
    for name, node in (cfg.evaluation.pairs or {}).items():
        if node is None:
            continue
        if "border" in node and node.border is None:
            node.border = border
        try:
            metric: FullReferenceMetric = instantiate(node, f"evaluation.pairs.{name}")
        except ValueError as error:
            if name not in OPTIONAL:
                raise
            log.warning("%s is left out: %s", name, error)
            continue
        if smallest < metric.min_size:
            log.warning(
                "%s is left out: it takes at least %d pixels across, and a picture has %d", name, metric.min_size, smallest
            )
            continue
        metrics[str(name)] = metric
    return metrics


def _spell(steps: DictConfig) -> str:
    """Steps with their numbers, in a line."""
    plain: Any = OmegaConf.to_container(steps, resolve=True)
    told = []
    for name, node in plain.items():
        numbers = [f"{key} {_words(value)}" for key, value in node.items() if key not in ("_target_", "scale")]
        told.append(" ".join([name, *numbers]))
    return ", ".join(told)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(f"{v:g}" for v in dict.fromkeys(value))
    return str(dict(value)) if isinstance(value, Mapping) else str(value)
