"""What a task answers for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from omegaconf import DictConfig

from gan_lab.building import compute
from gan_lab.building.datasets import build_dataset
from gan_lab.config import Job
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import BatchLoader
from gan_lab.metrics.pair_suite import FullReferenceSuite
from gan_lab.metrics.suite import MetricSuite
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.loss_context import GAN
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.training.precision import Precision
from gan_lab.training.sample_grid import SampleGrid


class Task(ABC):
    """What the generator is for; a training asks it for all that depends on that.

    Args:
        cfg: of a run. What the data alone can tell is entered into it.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        self._source = build_dataset(cfg)

    @property
    @abstractmethod
    def data(self) -> ImageDataset:
        """What is trained on; prepared when it is first asked for."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the images both players see."""

    @abstractmethod
    def loader(self, precision: Precision, ranks: SingleProcess) -> BatchLoader:
        """The data as batches, of each the part of this process."""

    @abstractmethod
    def latents(self) -> NormalLatents | NoLatents:
        """Where the generator's input comes from, if not with the batch."""

    @abstractmethod
    def training_suite(self) -> MetricSuite | FullReferenceSuite:
        """What is measured of a generator during its training."""

    @abstractmethod
    def suite(self, reals: str | None = None) -> MetricSuite | FullReferenceSuite:
        """What is measured of a run by ``gan_lab.evaluate``; ``reals``: pictures it is to be measured on."""

    @abstractmethod
    def overfitting_estimate(self, game: GAN, device: torch.device) -> OverfittingEstimate | NoOverfittingEstimate:
        """What tells whether the discriminator overfits."""

    @abstractmethod
    def sample_grid(self, job: Job, game: GAN, device: torch.device) -> SampleGrid:
        """What grids show."""

    def facts(self) -> dict[str, str]:
        """For the first lines of a run."""
        return {}

    def _loader_arguments(self, precision: Precision, ranks: SingleProcess) -> dict[str, Any]:
        """Arguments that any :class:`BatchLoader` takes."""
        cfg = self._cfg
        return {
            "data": self.data,
            "batch_size": cfg.batch_size,
            "seed": cfg.seed,
            "device": precision.device,
            "memory_format": compute.memory_format(cfg, precision),
            "drop_last": self._source.drop_last,
            "mirror": self._source.mirror,
            "part": ranks.shard,
            "dtype": precision.param_dtype,
        }
