"""Image synthesis from latents."""

from __future__ import annotations

import logging
import math
from functools import cached_property

import torch
from omegaconf import DictConfig

from gan_lab.building.datasets import build_dataset, load_dataset
from gan_lab.building.metrics import AUTO, build_suite, choose_features
from gan_lab.building.monitoring import build_overfitting_estimate
from gan_lab.building.tasks.base import Task
from gan_lab.config import Job, instantiate
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import BatchLoader
from gan_lab.data.placement import choose_placement
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.precision import Precision
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.metrics.suite import MetricSuite
from gan_lab.models.latents import NormalLatents
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.training.sample_grid import SampleGrid

log = logging.getLogger(__name__)


class Synthesis(Task):
    """The task of all models except upscalers."""

    def __init__(self, cfg: DictConfig) -> None:
        if cfg.model.latents is None:
            raise ValueError(
                "degradation=none: this generator upscales low-resolution images; use degradation=bicubic to make them"
            )
        super().__init__(cfg)
        if self._builder.image_format.is_whole:
            raise ValueError(
                "dataset.resize_mode=whole: images of any size work only with super-resolution, such as model=srgan; use "
                "crop, pad or resize"
            )
        if cfg.evaluation.pairs:
            raise ValueError(
                "evaluation=pairs compares images with their originals; it needs super-resolution, such as degradation=bicubic"
            )

    @cached_property
    def data(self) -> ImageDataset:
        return load_dataset(self._builder)

    def loader(self, precision: Precision, processes: SingleProcess) -> BatchLoader:
        placement = choose_placement(self.data, precision.device, self._cfg.data_memory_fraction)
        return BatchLoader(**self._loader_arguments(precision, processes), placement=placement)

    def latents(self) -> NormalLatents:
        latents: NormalLatents = instantiate(self._cfg.model.latents, "model.latents")
        return latents

    @property
    def image_size(self) -> int:
        return int(self._cfg.dataset.size)

    def training_suite(self) -> MetricSuite:
        """The evaluation during training. Writes the chosen features into the configuration, so that a resume keeps them."""
        cfg = self._cfg
        if cfg.evaluation.metrics and cfg.evaluation.features == AUTO:
            cfg.evaluation.features = choose_features(cfg, self._domain)
            for protocol in cfg.protocol.values():
                protocol.features = cfg.evaluation.features if protocol.features == AUTO else protocol.features
        suite = self.suite()
        if standing := [m.name for m in suite.evaluations if m.protocol.batch_norm != "running"]:
            raise ValueError(
                f"protocol.{standing[0]}.batch_norm: training uses running statistics; only gan_lab.evaluate can use "
                "standing ones"
            )
        return suite

    def suite(self, reals: str | None = None) -> MetricSuite:
        if reals is not None:
            raise ValueError(
                "reals=... needs fakes=..., or a super-resolution run; the generator of this run samples from latents"
            )
        return build_suite(self._cfg, self._domain, self.data, self._split)

    def overfitting_estimate(self, gan: GAN, device: torch.device) -> OverfittingEstimate | NoOverfittingEstimate:
        return build_overfitting_estimate(self._cfg, self._builder, self.data, gan, device)

    def sample_grid(self, job: Job, gan: GAN, device: torch.device) -> SampleGrid:
        """A grid of fixed latents. With conditioning, each row is a class: all of them, or as many as fit, evenly spaced."""
        cfg = job.cfg.sample
        rng = torch.Generator().manual_seed(job.cfg.seed)
        count, columns, rows, labels = cfg.count, cfg.columns, (), None
        if names := gan.labels.available_classes():
            columns = min(count, columns or max(count // len(names), math.isqrt(count) // 2, 1))
            num_rows = min(len(names), count // columns)
            if num_rows < len(names) and not job.resumed:
                _report_missing_rows(num_rows, len(names), columns)
            rows = tuple(names[n * len(names) // num_rows] for n in range(num_rows))
            count, labels = num_rows * columns, gan.labels.for_classes(rows, columns, rng).to(device)
        latents = gan.latents.sample(count, device, rng)
        return SampleGrid(job.directory, latents, labels, rows, columns, cfg.scale)

    @property
    def _domain(self) -> FeatureDomain:
        """The description of the images from which feature networks are chosen."""
        channels, size, _ = self.data.shape
        return FeatureDomain(self._builder.domain, channels, size)

    def _split(self, name: str) -> ImageDataset:
        return load_dataset(build_dataset(self._cfg, split=name, limit=None))


def _report_missing_rows(shown: int, classes: int, columns: int) -> None:
    log.info(
        "the sample grids show %d of the %d classes; sample.count=%d sample.columns=%d shows all of them",
        shown,
        classes,
        classes * columns,
        columns,
    )
