"""Images out of latents."""

from __future__ import annotations

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
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.metrics.suite import MetricSuite
from gan_lab.models.latents import NormalLatents
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.loss_context import GAN
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.training.precision import Precision
from gan_lab.training.sample_grid import SampleGrid


class Synthesis(Task):
    """The task of every family but the upscalers'."""

    def __init__(self, cfg: DictConfig) -> None:
        if cfg.model.latents is None:
            raise ValueError(
                "degradation=none: this generator enlarges pictures, and has to know what made them small: degradation=bicubic"
            )
        super().__init__(cfg)
        if self._source.shape.is_whole:
            raise ValueError(
                "dataset.resize_mode=whole: pictures of any size are for super-resolution, model=srgan; here crop, pad, resize"
            )
        if cfg.evaluation.pairs:
            raise ValueError(
                "evaluation=pairs compares pictures with what they should be: it goes with degradation=bicubic or another"
            )

    @cached_property
    def data(self) -> ImageDataset:
        return load_dataset(self._source)

    def loader(self, precision: Precision, ranks: SingleProcess) -> BatchLoader:
        return BatchLoader(**self._loader_arguments(precision, ranks))

    def latents(self) -> NormalLatents:
        latents: NormalLatents = instantiate(self._cfg.model.latents, "model.latents")
        return latents

    @property
    def image_size(self) -> int:
        return int(self._cfg.dataset.size)

    def training_suite(self) -> MetricSuite:
        """What is measured of a generator during its training, in features that a resume keeps to."""
        cfg = self._cfg
        if cfg.evaluation.metrics and cfg.evaluation.features == AUTO:
            cfg.evaluation.features = choose_features(cfg, self._domain)
            for protocol in cfg.protocol.values():
                protocol.features = cfg.evaluation.features if protocol.features == AUTO else protocol.features
        suite = self.suite()
        if standing := [m.name for m in suite.evaluations if m.protocol.batch_norm != "running"]:
            raise ValueError(
                f"protocol.{standing[0]}.batch_norm: in training scores use running statistics; gan_lab.evaluate can"
            )
        return suite

    def suite(self, reals: str | None = None) -> MetricSuite:
        if reals is not None:
            raise ValueError("reals=... goes with fakes=..., or with a run that enlarges pictures; this one draws from latents")
        return build_suite(self._cfg, self._domain, self.data, self._split)

    def overfitting_estimate(self, game: GAN, device: torch.device) -> OverfittingEstimate | NoOverfittingEstimate:
        return build_overfitting_estimate(self._cfg, self._source, self.data, game, device)

    def sample_grid(self, job: Job, game: GAN, device: torch.device) -> SampleGrid:
        """The grid's latents; with conditioning its rows are classes, all of them or as many as fit, evenly chosen."""
        cfg = job.cfg.sample
        random = torch.Generator().manual_seed(job.cfg.seed)
        count, columns, rows, labels = cfg.count, cfg.columns, (), None
        if names := game.labels.available_classes():
            columns = min(count, columns or max(count // len(names), math.isqrt(count) // 2, 1))
            num_rows = min(len(names), count // columns)
            rows = tuple(names[n * len(names) // num_rows] for n in range(num_rows))
            count, labels = num_rows * columns, game.labels.for_classes(rows, columns, random).to(device)
        latents = game.latents.sample(count, device, random)
        return SampleGrid(job.directory, latents, labels, rows, columns, cfg.scale)

    @property
    def _domain(self) -> FeatureDomain:
        """What the images are, for feature networks."""
        channels, size, _ = self.data.shape
        return FeatureDomain(self._source.domain, channels, size)

    def _split(self, name: str) -> ImageDataset:
        return load_dataset(build_dataset(self._cfg, split=name, limit=None))
