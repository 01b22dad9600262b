"""The interface of a task."""

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
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.precision import Precision
from gan_lab.metrics.full_reference_suite import FullReferenceSuite
from gan_lab.metrics.suite import MetricSuite
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.training.sample_grid import SampleGrid


class Task(ABC):
    """Builds everything that depends on the task: the data, the generator's input, the evaluation and the sample grids.

    Args:
        cfg: the configuration of a run. Values that depend on the data are written into it.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        self._builder = build_dataset(cfg)

    @property
    @abstractmethod
    def data(self) -> ImageDataset:
        """The training images; loaded on first access."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the images that the discriminator sees."""

    @abstractmethod
    def loader(self, precision: Precision, processes: SingleProcess) -> BatchLoader:
        """The loader of training batches; each process gets its own rows of a batch."""

    @abstractmethod
    def latents(self) -> NormalLatents | NoLatents:
        """The source of latents, or :class:`NoLatents` if the generator's input is part of the batch."""

    @abstractmethod
    def training_suite(self) -> MetricSuite | FullReferenceSuite:
        """The evaluation during training."""

    @abstractmethod
    def suite(self, reals: str | None = None) -> MetricSuite | FullReferenceSuite:
        """The evaluation of ``gan_lab.evaluate``; ``reals``: path of images to use instead of the run's own."""

    @abstractmethod
    def overfitting_estimate(self, gan: GAN, device: torch.device) -> OverfittingEstimate | NoOverfittingEstimate:
        """The measure of how much the discriminator overfits."""

    @abstractmethod
    def sample_grid(self, job: Job, gan: GAN, device: torch.device) -> SampleGrid:
        """The sample grid of the run."""

    def facts(self) -> dict[str, str]:
        """Text by heading, for the first lines on the console."""
        return {}

    def _loader_arguments(self, precision: Precision, processes: SingleProcess) -> dict[str, Any]:
        """Arguments of every :class:`BatchLoader`."""
        cfg = self._cfg
        return {
            "data": self.data,
            "batch_size": cfg.batch_size,
            "seed": cfg.seed,
            "device": precision.device,
            "memory_format": compute.memory_format(cfg, precision),
            "drop_last": self._builder.drop_last,
            "mirror": self._builder.mirror,
            "part": processes.shard,
            "dtype": precision.param_dtype,
            "reals_per_image": 1 if cfg.reuse_reals else 2,
        }
