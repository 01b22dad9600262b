"""The training loop: one update per batch of real images, with callbacks between updates."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from gan_lab.data.loader import Batch, BatchLoader
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.updater import GANUpdater
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.callbacks import Callbacks, Event, TimeLimits, Triggers
from gan_lab.training.checkpointer import Checkpointer
from gan_lab.training.evaluator import TrainingEvaluator
from gan_lab.training.graceful_shutdown import GracefulShutdown
from gan_lab.training.metric_recorder import MetricRecorder, TrainingDiverged
from gan_lab.training.monitor import TrainingMonitor
from gan_lab.training.roll_backs import NOT_FINITE, RollBacks
from gan_lab.training.run_recorder import RunRecorder
from gan_lab.training.scheduled_evaluation import EvaluationStopped, ScheduledEvaluation
from gan_lab.utils.image_ops import NotFinite

log = logging.getLogger(__name__)

DONE = 1000
"""Passed between processes in place of a signal's number, all of which are smaller: the training ends by ``max_seconds`` or
``evaluation.target``."""


@dataclass
class Trainer:
    """Trains a GAN; built by :func:`gan_lab.building.trainer.build_trainer`.

    Attributes:
        updater: the networks; performs one iteration on a batch.
        loader: batches of real images.
        progress: images, iterations and seconds so far.
        evaluator: computes scores.
        monitor: raises alarms.
        roll_backs: what happens when the training has diverged.
        evaluation: the callback that evaluates.
        metrics: averages and logs metrics.
        checkpointer: saves and restores checkpoints.
        records: writes the files of the run.
        triggers, time_limits: when each callback runs, and how much time it may take.
        processes: the processes that share each batch.
        device: of the networks.
    """

    updater: GANUpdater
    loader: BatchLoader
    progress: TrainingProgress
    evaluator: TrainingEvaluator
    monitor: TrainingMonitor
    roll_backs: RollBacks
    evaluation: ScheduledEvaluation
    metrics: MetricRecorder
    checkpointer: Checkpointer
    records: RunRecorder
    triggers: Triggers
    time_limits: TimeLimits
    processes: SingleProcess
    device: torch.device

    def __post_init__(self) -> None:
        triggers, limits = self.triggers, self.time_limits
        self.callbacks = Callbacks(
            {
                "logging": Event(triggers.log, self.log_metrics),
                "evaluation": Event(
                    triggers.evaluate, self._timed("evaluation", self.evaluation), limits.evaluate, "evaluation"
                ),
                "sampling": Event(
                    triggers.sample, self._timed("sampling", self.records.write_samples), limits.sample, "sample"
                ),
                "checkpoint": Event(
                    triggers.checkpoint, self._timed("checkpoints", self.save_checkpoint), limits.checkpoint, "checkpoint"
                ),
                "page": Event(triggers.sample, self._timed("page", self.records.update_page)),
            },
            self.progress.total_images,
            self.processes,
        )
        self._earlier_seconds = 0.0
        self._restored: int | None = None
        """Images of the checkpoint that the run went back to most recently."""

    def _timed(self, name: str, callback: Callable[[], None]) -> Callable[[], None]:
        """The callback, whose time the summary and the page list under ``name``."""

        def call() -> None:
            with self.progress.timer.spent_on(name):
                callback()

        return call

    def train(self) -> dict[str, Any]:
        """Train until ``progress.total_images``.

        Returns:
            The summary, with status ``finished``, or ``early_stopped`` by an alarm.

        Raises:
            TrainingDiverged: a loss, a weight or too many gradients are not finite, and no roll-back is left; the last
                checkpoint with finite weights is kept.
            KeyboardInterrupt: after a SIGINT, when everything is saved; it also ends a multirun.
            SystemExit: after a SIGTERM or SIGHUP, likewise.
            ValueError: a file can't be read or written; the message names it and says how to go on.
        """
        self.records.start()
        with GracefulShutdown() as shutdown:
            try:
                with self.progress.timer.spent_on("preparation"):
                    self._prepare()
                ended = self._train_until_end(shutdown)
                if ended == "interrupted":
                    self.checkpointer.save("last")
                self.checkpointer.wait()
                status = "finished" if ended == "done_early" else ended
                self.records.finish(status)
            except (TrainingDiverged, NotFinite) as error:
                self._finish_after_error("diverged")
                raise TrainingDiverged(str(error)) from error
            except OSError as error:
                self._finish_after_error("failed", advise=error.filename is None)
                if error.filename is None:  # not of a file
                    raise
                raise ValueError(self.records.explain(error)) from error
            except BaseException as error:
                self._finish_after_error("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                raise
        if shutdown.signal is not None and status == "interrupted":
            raise KeyboardInterrupt if shutdown.signal is signal.SIGINT else SystemExit(128 + shutdown.signal)
        return self.records.summary(status)

    def _finish_after_error(self, status: str, advise: bool = True) -> None:
        """Write the records as far as that is possible: the error that ends the training is the one to report."""
        with suppress(OSError):
            self.checkpointer.wait()
        with suppress(OSError):
            self.records.finish(status, advise)

    def _train_until_end(self, shutdown: GracefulShutdown) -> str:
        """Train, and run the callbacks of an early end. A signal also ends an evaluation, unless others take part in it."""
        self.evaluation.is_to_stop = lambda: shutdown.signal is not None and self.processes.world_size == 1
        try:
            ended = self._loop_until_end(shutdown)
            if ended in ("early_stopped", "done_early"):
                self._end_early()
            return ended
        except EvaluationStopped:
            return "interrupted"

    def _loop_until_end(self, shutdown: GracefulShutdown) -> str:
        """Loop, again after each divergence from which the run can go back to a checkpoint."""
        while True:
            try:
                with self.progress.timer.running():
                    return self._loop(shutdown)
            except (TrainingDiverged, NotFinite) as error:
                self._roll_back(error)

    def _loop(self, shutdown: GracefulShutdown) -> str:
        if self.progress.total_images == 0:
            with self.progress.timer.paused():
                self._timed("evaluation", self.evaluation)()  # of the initial weights
        if pending := self.checkpointer.pending:
            with self.progress.timer.paused():
                self._run_in_turn(pending)
        batch_size = self.updater.growth.state_at
        for batch in self.loader.batches(self.progress.images, lambda images: batch_size(images).batch_size):
            if self.progress.finished:
                break
            is_done = self.progress.time_is_up or self.evaluator.has_reached_target
            received = self.processes.all_reduce_max_async(shutdown.signal or (DONE if is_done else 0))
            if received == DONE:
                return "done_early"
            if received:
                shutdown.signal = signal.Signals(received)
                return "interrupted"
            if self.monitor.ended_by is not None:
                return "early_stopped"
            self.step(batch)
        return "early_stopped" if self.monitor.restores_best else "finished"

    def step(self, batch: Batch) -> None:
        """Perform one update, then run the callbacks that are due."""
        before = self.progress.images
        self.updater.update(batch, self.progress)
        self.records.tracker.progress(self.progress.images)
        for name in self._kept_checkpoints(before, self.progress.images):
            with self.progress.timer.paused():
                self._timed("checkpoints", partial(self.checkpointer.save, name))()
        if due := self.callbacks.due(before, self.progress.images):
            with self.progress.timer.paused():
                self._timed("evaluation", self._evaluate_untrained)()
                self._run_callbacks(due)

    def _run_callbacks(self, due: list[str]) -> None:
        """Run the callbacks called ``due``. A checkpoint comes also before an evaluation, which may take long.

        A run that is ended by a signal meanwhile does not lose its steps; the later checkpoint holds the scores.
        """
        if {"evaluation", "checkpoint"} <= {*due}:
            self._run_in_turn([name for name in due if name == "logging"])
            due = [name for name in due if name != "logging"]
            self.checkpointer.pending = due
            self.callbacks.run(["checkpoint"], self._seconds_here, self.progress.images)
        self._run_in_turn(due)

    def _run_in_turn(self, names: list[str]) -> None:
        """Run the callbacks called ``names``. If an evaluation is given up, they are left for the resume, from it on."""
        self.checkpointer.pending = []
        for number, name in enumerate(names):
            try:
                self.callbacks.run([name], self._seconds_here, self.progress.images)
            except EvaluationStopped:
                self.checkpointer.pending = names[number:]
                raise

    @property
    def _seconds_here(self) -> float:
        """Seconds of training in this process."""
        return self.progress.timer.seconds - self._earlier_seconds

    def _kept_checkpoints(self, before: int, after: int) -> list[str]:
        """Names of the checkpoints that are written after the step from ``before`` to ``after`` images and never replaced."""
        pretrained = ["pretrained"] if self.updater.pretraining.ends_between(before, after) else []
        is_due = self.triggers.kept_checkpoint.is_due(before, after)
        return [*pretrained, *([self.records.directory.kept_checkpoint(after)] if is_due else [])]

    def _evaluate_untrained(self) -> None:
        """Evaluate the untrained generator before the first callbacks, and measure how long an evaluation takes."""
        started = time.perf_counter()
        self.evaluation.evaluate_untrained()
        if (evaluation := self.callbacks.events.get("evaluation")) and not evaluation.expected_seconds:
            evaluation.expected_seconds = time.perf_counter() - started

    def log_metrics(self) -> None:
        """Log the averages since the last row."""
        self.metrics.log_averages()

    def save_checkpoint(self) -> None:
        """Write ``last.pt`` and the summary, unless the present weights may be those that lead to no finite gradients."""
        if not self.progress.finished and (skipped := self.updater.skipped_in_a_row()):
            log.info("no checkpoint at %s images: the latest steps were skipped (%d)", f"{self.progress.images:,}", skipped)
        else:
            self.checkpointer.save("last")
            self.records.write_summary("running")

    def _prepare(self) -> None:
        """Prepare the first update; a new run also writes grids of real and untrained images, and a checkpoint."""
        self.evaluator.prepare(self.device, lambda done, total: self.records.tracker.activity("reals", done, total))
        self.updater.broadcast()
        self._earlier_seconds = self.progress.timer.seconds
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
            self.save_checkpoint()
            self.checkpointer.wait()  # from now on there is always a checkpoint to resume from

    def _end_early(self) -> None:
        """Run all callbacks as at a regular end, or after an alarm go back to the best checkpoint."""
        if not self.monitor.restores_best:
            self.callbacks.run_remaining()
            return
        self._go_back("best")

    def _roll_back(self, error: TrainingDiverged | NotFinite) -> None:
        """Go back to the last checkpoint with lower learning rates; without a new one since then, to the one before it.

        Raises:
            TrainingDiverged, NotFinite: ``error``, if no roll-back is left.
        """
        done = self.monitor.count(NOT_FINITE)
        if done >= self.roll_backs.limit:
            raise error
        images, seconds = self.progress.images, self.progress.timer.seconds
        self.monitor.report(NOT_FINITE, str(error), images)
        is_new = self._restored is None or self.checkpointer.newest != self._restored
        has_earlier = self.records.directory.checkpoint("last-1").is_file()
        self._go_back("last" if is_new or not has_earlier else "last-1", lr_factor=self.roll_backs.lr_factor ** (done + 1))
        spent = self.progress.timer.other_seconds
        spent["rolled back"] = spent.get("rolled back", 0.0) + seconds - self.progress.timer.seconds

    def _go_back(self, name: str, lr_factor: float | None = None) -> None:
        """Restore a checkpoint, keeping the alarms, and make it the newest one."""
        self.checkpointer.go_back(name, keep="monitor")
        if lr_factor is not None:
            self.updater.lr_factor = lr_factor
        self.metrics.start()
        self.checkpointer.save("last")
        self.records.roll_back(name, self.updater.lr_factor)
        self._restored = self.checkpointer.newest
