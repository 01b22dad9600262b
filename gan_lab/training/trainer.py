"""The training loop: one update for each batch of real images; everything else happens between updates."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

import torch

from gan_lab.data.loader import Batch, BatchLoader
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.updater import GANUpdater
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.callbacks import Callbacks, Triggers
from gan_lab.training.checkpointer import Checkpointer
from gan_lab.training.evaluator import TrainingEvaluator
from gan_lab.training.graceful_shutdown import GracefulShutdown
from gan_lab.training.metric_recorder import MetricRecorder, TrainingDiverged
from gan_lab.training.monitor import TrainingMonitor
from gan_lab.training.run_recorder import RunRecorder
from gan_lab.training.scheduled_evaluation import ScheduledEvaluation
from gan_lab.utils.image_ops import NotFinite


@dataclass
class Trainer:
    """Everything one training consists of; :func:`gan_lab.building.trainer.build_trainer` puts it together.

    Attributes:
        updater: the networks, and one iteration on a batch.
        loader: batches of real images.
        progress: images, iterations and seconds so far.
        evaluator, monitor: scores and alarms.
        evaluation: evaluates when it is due.
        metrics: averages and logs metrics.
        checkpointer: saves and restores.
        records: what the run leaves behind.
        triggers: when each callback runs.
        processes: those that share each batch.
    """

    updater: GANUpdater
    loader: BatchLoader
    progress: TrainingProgress
    evaluator: TrainingEvaluator
    monitor: TrainingMonitor
    evaluation: ScheduledEvaluation
    metrics: MetricRecorder
    checkpointer: Checkpointer
    records: RunRecorder
    triggers: Triggers
    processes: SingleProcess
    device: torch.device

    def __post_init__(self) -> None:
        triggers = self.triggers
        self.callbacks = Callbacks(
            {
                "logging": (triggers.log, self.log_metrics),
                "evaluation": (triggers.evaluate, self.evaluation),
                "sampling": (triggers.sample, self.records.write_samples),
                "checkpoint": (triggers.checkpoint, self.save_checkpoint),
                "page": (triggers.sample, self.records.update_page),
            },
            end=self.progress.total_images,
        )

    def train(self) -> dict[str, Any]:
        """Train until ``progress.total_images``.

        Returns:
            The summary, with status ``finished``, or ``early_stopped`` by an alarm.

        Raises:
            TrainingDiverged: a loss or weight is not finite; the last checkpoint with finite weights is kept.
            KeyboardInterrupt: after a SIGINT, once everything is saved; ends a multirun too.
            SystemExit: likewise after a SIGTERM.
        """
        status = "failed"
        self.records.start()
        with GracefulShutdown() as shutdown:
            try:
                self._prepare()
                with self.progress.timer.running():
                    status = self._loop(shutdown)
                if status == "interrupted":
                    self.save_checkpoint()
                elif status == "early_stopped":
                    self._end_early()
            except (TrainingDiverged, NotFinite) as error:
                status = "diverged"
                raise TrainingDiverged(str(error)) from error
            finally:
                self.records.finish(status)
        if shutdown.signal is not None and status == "interrupted":
            raise KeyboardInterrupt if shutdown.signal is signal.SIGINT else SystemExit(128 + shutdown.signal)
        return self.records.summary(status)

    def _loop(self, shutdown: GracefulShutdown) -> str:
        batch_size = self.updater.growth.state_at
        for batch in self.loader.batches(self.progress.images, lambda images: batch_size(images).batch_size):
            if self.progress.finished:
                break
            if received := self.processes.all_reduce_max_async(shutdown.signal or 0):
                shutdown.signal = signal.Signals(received)
                return "interrupted"
            if self.monitor.ended_by is not None:
                return "early_stopped"
            self.step(batch)
        return "early_stopped" if self.monitor.rolls_back else "finished"

    def step(self, batch: Batch) -> None:
        """One update, then the callbacks that are due."""
        before = self.progress.images
        self.updater.update(batch, self.progress)
        self.records.tracker.progress(self.progress.images)
        if self.updater.pretraining.ends_between(before, self.progress.images):
            with self.progress.timer.paused():
                self.checkpointer.save("pretrained")
        if due := self.callbacks.due(before, self.progress.images):
            with self.progress.timer.paused():
                for callback in due:
                    callback()

    def log_metrics(self) -> None:
        """Log the averages since the last row; before the first one, the untrained generator's scores."""
        self.evaluation.evaluate_untrained()
        self.metrics.log_averages()

    def save_checkpoint(self) -> None:
        """Write ``last.pt`` and the summary."""
        self.checkpointer.save("last")
        self.records.write_summary("running")

    def _prepare(self) -> None:
        """Everything before the first update; at the very start also grids of real and untrained images and a checkpoint."""
        self.evaluator.prepare(self.device, lambda done, total: self.records.tracker.activity("reals", done, total))
        self.updater.broadcast()
        at_start = self.progress.images == 0
        if at_start and not self.processes.is_main_process:
            torch.manual_seed(torch.initial_seed() + self.processes.rank)  # of dropout and augmentation, not of latents
        self.metrics.start()
        self.records.write_summary("running")
        self.records.discard_later_samples()
        self.records.keep_outdated_best()
        if at_start:
            self.records.write_reals(self.loader)
            self.evaluation.keep_untrained()
            self.records.write_samples()
            self.save_checkpoint()  # from here on there is always a checkpoint to resume from

    def _end_early(self) -> None:
        """After an alarm: run all callbacks as at a regular end, or go back to the best checkpoint."""
        if not self.monitor.rolls_back:
            for callback in self.callbacks.remaining():
                callback()
            return
        self.checkpointer.restore_best(keep="monitor")  # the alarms are still to be reported
        self.checkpointer.save("last")
        self.records.roll_back()
