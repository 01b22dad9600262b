"""Records metrics: averages over steps, speed, learning rates, memory, scores, and the alarms that they raise."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.updater import GANUpdater
from gan_lab.runtime.timer import peak_memory
from gan_lab.tracking.base import Tracker
from gan_lab.training.monitor import TrainingMonitor


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer finite."""


class MetricRecorder:
    """Writes rows of metrics to the trackers, after the monitor has checked them.

    Args:
        updater: the source of the metrics.
        progress: the training progress.
        monitor: raises alarms.
        tracker: receives the rows.
        device: of the networks.
    """

    def __init__(
        self,
        updater: GANUpdater,
        progress: TrainingProgress,
        monitor: TrainingMonitor,
        tracker: Tracker,
        device: torch.device,
    ) -> None:
        self._updater, self._progress = updater, progress
        self._monitor, self._tracker, self._device = monitor, tracker, device
        self._since = (0, 0.0)

    def start(self) -> None:
        """Start measuring the speed."""
        self._since = (self._progress.images, self._progress.timer.seconds)

    def log_averages(self) -> None:
        """Record the averages since the last call, and speed, learning rates, growth and memory.

        Raises:
            TrainingDiverged: a loss is not finite.
        """
        progress = self._progress
        metrics = self._updater.averager.read(self._updater.gan.processes)
        images, seconds = progress.images - self._since[0], progress.timer.seconds - self._since[1]
        self.start()
        for phase in self._updater.phases_at(progress.images - 1):
            metrics |= phase.optimizer_metrics()
        for value in self._updater.scheduled:
            metrics |= value.metrics()
        metrics |= self._updater.growth.metrics(self._updater.growth_state)
        if images and seconds:
            metrics["time/images_per_second"] = images / seconds
            metrics["time/seconds_per_epoch"] = seconds / images * progress.images_per_epoch
        metrics["memory/peak_mib"] = peak_memory(self._device)
        self.record(metrics)
        if diverged := [phase.name for phase in self._updater.all_phases if phase.has_diverged(metrics)]:
            losses = " and ".join(f"{name}/loss" for name in diverged)
            raise TrainingDiverged(f"{losses} not finite after {progress.images} images")

    def record(self, metrics: Mapping[str, float]) -> None:
        """Record one row at the current number of images."""
        progress = self._progress
        self._record({"images": progress.images, "epoch": progress.epoch, "seconds": progress.timer.seconds, **metrics})

    def record_untrained(self, metrics: Mapping[str, float]) -> None:
        """Record one row of the untrained networks, at 0 images."""
        self._record({"images": 0, "epoch": 0.0, "seconds": 0.0, **metrics})

    def _record(self, row: Mapping[str, float]) -> None:
        self._tracker.metrics({**row, **self._monitor.check(row, int(row["images"]))})
