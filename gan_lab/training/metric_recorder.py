"""Records metrics: averages over steps, speed, learning rates, memory, scores, and the alarms that they raise."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from gan_lab.iteration.phase import SKIPPED
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
        max_skipped_steps: steps of a network that may be skipped one after the other, because their gradients are not finite.
    """

    def __init__(
        self,
        updater: GANUpdater,
        progress: TrainingProgress,
        monitor: TrainingMonitor,
        tracker: Tracker,
        device: torch.device,
        max_skipped_steps: int,
    ) -> None:
        self._updater, self._progress = updater, progress
        self._monitor, self._tracker, self._device = monitor, tracker, device
        self._max_skipped_steps = max_skipped_steps
        self._since = (0, 0.0)

    def start(self) -> None:
        """Start measuring the speed."""
        self._since = (self._progress.images, self._progress.timer.seconds)

    def log_averages(self) -> None:
        """Record the averages since the last call, and speed, learning rates, growth and memory.

        Raises:
            TrainingDiverged: a loss is not finite, or as many steps as allowed were skipped in a row.
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
        self.record({name: value for name, value in metrics.items() if value or not name.endswith(SKIPPED)})
        self.check_divergence(metrics)

    def check_divergence(self, metrics: Mapping[str, float]) -> None:
        """Check the averages of a row, and how many steps were skipped; waits for the device.

        Raises:
            TrainingDiverged: a loss is not finite, or as many steps as allowed were skipped in a row, or at the end of the
                training all steps of the last row.
        """
        allowed = self._max_skipped_steps - 1
        if self._progress.finished and any(value == 1.0 for name, value in metrics.items() if name.endswith(SKIPPED)):
            allowed = 0
        if skipping := [phase for phase in self._updater.all_phases if phase.skipped_in_a_row() > allowed]:
            steps = " and of ".join(f"{phase.name} the latest {phase.skipped_in_a_row()}" for phase in skipping)
            raise TrainingDiverged(
                f"of {steps} steps were skipped, because their gradients were not finite, up to {self._progress.images} images"
            )
        skipped = {name.removesuffix(SKIPPED) for name, value in metrics.items() if name.endswith(SKIPPED) and value}
        losses = [f"{phase.name}/loss" for phase in self._updater.all_phases if f"{phase.name}/" not in skipped]
        if wrong := [name for name in losses if not math.isfinite(metrics.get(name, 0.0))]:
            raise TrainingDiverged(f"{' and '.join(wrong)} not finite after {self._progress.images} images")

    def record(self, metrics: Mapping[str, float]) -> None:
        """Record one row at the current number of images."""
        progress = self._progress
        self._record({"images": progress.images, "epoch": progress.epoch, "seconds": progress.timer.seconds, **metrics})

    def record_untrained(self, metrics: Mapping[str, float]) -> None:
        """Record one row of the untrained networks, at 0 images."""
        self._record({"images": 0, "epoch": 0.0, "seconds": 0.0, **metrics})

    def _record(self, row: Mapping[str, float]) -> None:
        self._tracker.metrics({**row, **self._monitor.check(row, int(row["images"]))})
