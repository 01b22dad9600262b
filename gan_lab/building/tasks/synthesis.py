"""Images out of latents."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from omegaconf import DictConfig

from gan_lab.building.datasets import build_source, load_data
from gan_lab.building.metrics import AUTO, build_suite, choose_features
from gan_lab.building.monitoring import build_held_out
from gan_lab.building.tasks.base import Task
from gan_lab.config import Job, instantiate
from gan_lab.data.image_dataset import ImageSet
from gan_lab.data.loader import Stream
from gan_lab.metrics.networks import Domain
from gan_lab.metrics.suite import Suite
from gan_lab.models.latents import NormalLatents
from gan_lab.runtime.distributed import Alone
from gan_lab.training.loss_context import Game
from gan_lab.training.overfitting import HeldOut, NothingHeldOut
from gan_lab.training.precision import Precision
from gan_lab.training.sample_grid import Preview


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
                "dataset.fit=whole: pictures of any size are for super-resolution, model=srgan; here crop, pad, resize"
            )
        if cfg.evaluation.pairs:
            raise ValueError(
                "evaluation=pairs compares pictures with what they should be: it goes with degradation=bicubic or another"
            )

    @cached_property
    def data(self) -> ImageSet:
        return load_data(self._source)

    def stream(self, precision: Precision, ranks: Alone) -> Stream:
        return Stream(**self._as_a_stream(precision, ranks))

    def latents(self) -> NormalLatents:
        latents: NormalLatents = instantiate(self._cfg.model.latents, "model.latents")
        return latents

    @property
    def image_size(self) -> int:
        return int(self._cfg.dataset.size)

    def training_suite(self) -> Suite:
        """What is measured of a generator during its training, in features that a resume keeps to."""
        cfg = self._cfg
        if cfg.evaluation.metrics and cfg.evaluation.features == AUTO:
            cfg.evaluation.features = choose_features(cfg, self._domain)
            for protocol in cfg.protocol.values():
                protocol.features = cfg.evaluation.features if protocol.features == AUTO else protocol.features
        suite = self.suite()
        if standing := [m.name for m in suite.measures if m.protocol.batch_norm != "running"]:
            raise ValueError(
                f"protocol.{standing[0]}.batch_norm: in training scores use running statistics; gan_lab.evaluate can"
            )
        return suite

    def suite(self, reals: str | None = None) -> Suite:
        if reals is not None:
            raise ValueError("reals=... goes with fakes=..., or with a run that enlarges pictures; this one draws from latents")
        return build_suite(self._cfg, self._domain, self.data, self._split)

    def held_out(self, game: Game, device: torch.device) -> HeldOut | NothingHeldOut:
        return build_held_out(self._cfg, self._source, self.data, game, device)

    def preview(self, job: Job, game: Game, device: torch.device) -> Preview:
        """The grid's latents; with conditioning its rows are classes, all of them or as many as fit, evenly chosen."""
        cfg = job.cfg.sample
        random = torch.Generator().manual_seed(job.cfg.seed)
        count, columns, rows, labels = cfg.count, cfg.columns, (), None
        if names := game.labels.drawable():
            columns = min(count, columns or max(count // len(names), math.isqrt(count) // 2, 1))
            num_rows = min(len(names), count // columns)
            rows = tuple(names[n * len(names) // num_rows] for n in range(num_rows))
            count, labels = num_rows * columns, game.labels.of(rows, columns, random).to(device)
        latents = game.latents.draw(count, device, random)
        return Preview(job.directory, latents, labels, rows, columns, cfg.scale)

    @property
    def _domain(self) -> Domain:
        """What the images are, for feature networks."""
        channels, size, _ = self.data.shape
        return Domain(self._source.domain, channels, size)

    def _split(self, name: str) -> ImageSet:
        return load_data(build_source(self._cfg, split=name, limit=None))
