"""The loop: two players take turns over a stream of real images; everything else happens between steps."""

from __future__ import annotations

import functools
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gan_lab.data.loader import Batch, BatchLoader
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.runtime.environment import count_parameters, environment, training_progress
from gan_lab.runtime.timer import TrainingTimer, peak_memory, reset_peak_memory
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking.base import RunInfo, Tracker
from gan_lab.tracking.files import write_summary
from gan_lab.training.callbacks import Callbacks, Trigger, Triggers
from gan_lab.training.checkpointer import restore, training_state
from gan_lab.training.evaluator import TrainingEvaluator
from gan_lab.training.graceful_shutdown import GracefulShutdown
from gan_lab.training.growth import Growth, GrowthState
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.training.loss_context import GAN, SharedFakes
from gan_lab.training.metric_averager import MetricAverager
from gan_lab.training.monitor import TrainingMonitor
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.training.phase import Phase
from gan_lab.training.pretraining import Pretraining
from gan_lab.training.resume_hint import log_resume_hint
from gan_lab.training.sample_grid import SampleGrid
from gan_lab.training.schedule import Schedule
from gan_lab.utils.image_ops import NotFinite

log = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer a finite number."""


def rank_zero_only(method: Callable[..., None]) -> Callable[..., None]:
    """Of the processes that train together one alone writes and speaks."""

    @functools.wraps(method)
    def wrapped(self: Trainer, *arguments: Any) -> None:
        if self.processes.is_main_process:
            method(self, *arguments)

    return wrapped


@dataclass
class Trainer:
    """Everything one training is made of; :func:`gan_lab.building.trainer.build_trainer` puts it together.

    ``images``, the number of real images drawn from the stream, is the only clock.
    """

    gan: GAN
    phases: Sequence[Phase]
    loader: BatchLoader
    sampler: ImageSampler
    growth: Growth
    schedule: Schedule
    evaluator: TrainingEvaluator
    monitor: TrainingMonitor
    overfitting: OverfittingEstimate | NoOverfittingEstimate
    sample_grid: SampleGrid
    tracker: Tracker
    report: Callable[..., None]
    info: RunInfo
    directory: RunDirectory
    device: torch.device
    triggers: Triggers
    total_images: int
    pretraining: Pretraining = field(default_factory=Pretraining)
    processes: SingleProcess = field(default_factory=SingleProcess)
    images: int = 0
    iteration: int = 0
    averager: MetricAverager = field(default_factory=MetricAverager)

    def __post_init__(self) -> None:
        self.timer = TrainingTimer(self.device)
        self.ema = self.sampler.ema
        self.growth_state = self.growth.state_at(self.images)
        self.growth.apply(self.growth_state, self._networks())
        reset_peak_memory(self.device)
        self._logged = (0, 0.0)
        self._untrained: ImageSampler | None = None
        self.actions: dict[str, tuple[Trigger, Callable[[], None]]] = {
            "logging": (self.triggers.log, self.log_metrics),
            "evaluation": (self.triggers.evaluate, self._evaluate),
            "sampling": (self.triggers.sample, self._sample),
            "checkpoint": (self.triggers.checkpoint, self._checkpoint),
            "page": (self.triggers.sample, self._report),
        }
        self.events = Callbacks(self.actions.values(), end=self.total_images)

    def train(self) -> dict[str, Any]:
        """Train to ``total_images``.

        Returns:
            The summary, with status ``finished``, or ``stopped early`` by an alarm.

        Raises:
            Diverged: with the summary's status set and the last healthy checkpoint left as it is.
            KeyboardInterrupt: after a SIGINT, when everything is saved; a multirun ends with it.
            SystemExit: the same after a SIGTERM.
        """
        status = "failed"
        self.tracker.start(self.info)
        with GracefulShutdown() as interruption:
            try:
                self.evaluator.prepare(self.device, self._telling("reals"))
                self._start_together()
                self._begin()
                with self.timer.running():
                    status = self._loop(interruption)
                if status == "interrupted":
                    self._checkpoint()
                elif status == "early_stopped":
                    self._end_early()
            except (TrainingDiverged, NotFinite) as error:
                status = "diverged"
                raise TrainingDiverged(str(error)) from error
            finally:
                self._end(status)
        if interruption.signal is not None and status == "interrupted":
            raise KeyboardInterrupt if interruption.signal is signal.SIGINT else SystemExit(128 + interruption.signal)
        return self.summary(status)

    def _loop(self, interruption: GracefulShutdown) -> str:
        for batch in self.loader.batches(self.images, lambda images: self.growth.state_at(images).batch_size):
            if self.images >= self.total_images:
                break
            if stop := self.processes.all_reduce_max_async(interruption.signal or 0):
                interruption.signal = signal.Signals(stop)
                return "interrupted"
            if self.monitor.ended_by is not None:
                return "early_stopped"
            self.step(batch)
        return "early_stopped" if self.monitor.rolls_back else "finished"

    def step(self, batch: Batch) -> None:
        """The networks grow; each player whose turn it is moves once; the average follows; what falls due is done."""
        progress = self.pretraining.progress(self.images, self.total_images)
        stage = self.grow_to(self.growth.state_at(self.images))
        batch = stage.match_resolution(batch)
        self.gan.augment.set_progress(progress)
        phases = self.pretraining.phases if self.pretraining.is_active(self.images) else self.phases
        due = [phase for phase in phases if phase.due(self.iteration)]
        handed = SharedFakes() if self.gan.reuse_fakes and len(due) == len(self.phases) else None
        for phase in due:
            phase.set_lr_factor(self.schedule(progress) * stage.lr_factor)
            self.averager.add(phase.step(self.gan, batch, handed))
        before, self.images = self.images, self.images + len(batch.real) * self.processes.world_size
        self.iteration += 1
        self.ema.update(self.images, self.images - before)
        self.tracker.progress(self.images)
        if self.pretraining.ends_between(before, self.images):
            with self.timer.paused():
                self._save("pretrained")
        if actions := self.events.due(before, self.images):
            with self.timer.paused():
                for action in actions:
                    action()

    def grow_to(self, stage: GrowthState) -> GrowthState:
        """Bring everything to a stage; new layers come with fresh optimizers (Karras et al. 2018, appendix A.1)."""
        if stage == self.growth_state:
            return stage
        self.growth.apply(stage, self._networks())
        if self.growth.reset_optimizer and stage.layers != self.growth_state.layers:
            for phase in self.phases:
                phase.reset_optimizer_state()
        self.growth_state = stage
        return stage

    @property
    def all_phases(self) -> list[Phase]:
        """Those of both stages."""
        return [*self.pretraining.phases, *self.phases]

    def _networks(self) -> tuple[nn.Module, ...]:
        return self.gan.generator, self.gan.discriminator, self.ema.network

    # -- events ----------------------------------------------------------------------------------------------------------

    def _start_together(self) -> None:
        """With the same weights, whatever another machine makes of a seed, and with random numbers of each process's own."""
        for network in self._networks():
            self.processes.broadcast_([*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())])
        if self.images == 0 and not self.processes.is_main_process:
            torch.manual_seed(torch.initial_seed() + self.processes.rank)  # of dropout and augmentation, not of latents

    def _begin(self) -> None:
        self._logged = (self.images, self.timer.seconds)
        self._put_in_order()
        if self.images == 0:
            self._untrained = self.sampler.snapshot()
            self._sample()
            self._checkpoint()  # so that from here on there is always something to go on from

    @rank_zero_only
    def _put_in_order(self) -> None:
        """The directory, before the first step: nothing of a future that this training will not have."""
        self._write_summary("running")
        self.sample_grid.discard_after(self.images)
        if self.evaluator.outdated is not None and (best := self.directory.checkpoint("best")).exists():
            best.replace(self.directory.checkpoint(f"best-{self.evaluator.outdated}"))  # nothing is lost that was the best once
        if self.images == 0:
            self.tracker.picture("reals", self.sample_grid.save_reals(self.loader), 0)

    def log_metrics(self) -> None:
        """Read the meter, tell the trackers, and see whether all is still finite."""
        self._score_untrained()
        figures = self.averager.read(self.processes)
        images, seconds = self.images - self._logged[0], self.timer.seconds - self._logged[1]
        self._logged = (self.images, self.timer.seconds)
        for phase in self.pretraining.phases if self.pretraining.is_active(self.images - 1) else self.phases:
            figures |= phase.optimizer_metrics()
        figures |= self.growth.metrics(self.growth_state)
        if images and seconds:
            figures["time/images_per_second"] = images / seconds
            figures["time/seconds_per_epoch"] = seconds / images * self.loader.images_per_epoch
        figures["memory/peak_mib"] = peak_memory(self.device)
        self._record(figures)
        if broken := [phase.name for phase in self.all_phases if phase.has_diverged(figures)]:
            raise TrainingDiverged(
                f"{' and '.join(f'{name}/loss' for name in broken)} no longer finite at {self.images} images"
            )

    def _score_untrained(self) -> None:
        """The first point of the curve, before the next: nobody who starts a run wants to wait for it."""
        if self._untrained is not None:
            if scores := self.evaluator.evaluate(self._untrained, 0, self._telling("score")):
                row = {"images": 0, "epoch": 0.0, "seconds": 0.0, **scores}
                self.tracker.metrics({**row, **self.monitor.check(row, 0)})
            self._untrained = None

    def _evaluate(self) -> None:
        self._score_untrained()
        at_end = self.images >= self.total_images or self.monitor.ended_by is not None
        if not at_end and not self.processes.broadcast_object(self.evaluator.within_time_budget(self.timer.seconds)):
            return
        self._average_statistics()
        scores = self.evaluator.evaluate(self.sampler, self.images, self._telling("score"))
        overfitting = (
            self.processes.on_main_process(lambda: self.overfitting(self.growth_state)) if self.images else {}
        )  # untrained, it has none
        if figures := scores | overfitting:
            self._record(figures)
        if scores and self.evaluator.update_best():
            self._save("best")

    def _average_statistics(self) -> None:
        """Running statistics, which each process takes of its own part of the batches."""
        for network in self._networks():
            self.processes.all_reduce_mean_([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    @rank_zero_only
    def _sample(self) -> None:
        images = self.sampler.generate(self.sample_grid.latents, self.sample_grid.labels)
        path = self.sample_grid.save_samples(images, self.images)
        self.tracker.picture("samples", path, self.images)

    def _checkpoint(self) -> None:
        self._save("last")
        self._write_summary("running")

    @rank_zero_only
    def _write_summary(self, status: str) -> None:
        write_summary(self.directory, self.summary(status))

    @rank_zero_only
    def _report(self) -> None:
        self.report(self.directory)

    def _end_early(self) -> None:
        """An alarm ends the training: with all that belongs to an end, or as its best checkpoint."""
        if not self.monitor.rolls_back:
            for action in self.events.remaining():
                action()
            return
        best = self.directory.checkpoint("best")
        restore(self, {**checkpoint.load(best), "monitor": self.monitor.state_dict()})  # the alarms are still to be told
        self._save("last")
        self._forget_the_future()
        self._sample()
        log.info("back at the best checkpoint, of %s images", f"{self.images:,}")

    @rank_zero_only
    def _forget_the_future(self) -> None:
        self.sample_grid.discard_after(self.images)
        self.tracker.roll_back(self.images)

    @rank_zero_only
    def _end(self, status: str) -> None:
        self.tracker.finish(self.summary(status))
        self.report(self.directory, final=True)
        log.info("%s at %s images after %.0f s of training", status, f"{self.images:,}", self.timer.seconds)
        if score := self.evaluator.format_summary():
            log.info("score: %s", score)
        log_resume_hint(self.directory, status, self.monitor.ended_by)

    # -- what events are made of -----------------------------------------------------------------------------------------

    def _telling(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.tracker.activity(what, done, total)

    def _record(self, figures: Mapping[str, float]) -> None:
        clock = {"images": self.images, "epoch": self.images / self.loader.images_per_epoch, "seconds": self.timer.seconds}
        self.tracker.metrics({**clock, **figures, **self.monitor.check({**clock, **figures}, self.images)})

    def _save(self, which: str) -> None:
        if not checkpoint.is_finite(self.gan.generator, self.gan.discriminator):
            raise TrainingDiverged(f"a weight is no longer finite at {self.images} images")
        self._average_statistics()
        self._write(which, training_state(self))

    @rank_zero_only
    def _write(self, which: str, state: dict[str, Any]) -> None:
        checkpoint.save(self.directory.checkpoint(which), state)

    def summary(self, status: str) -> dict[str, Any]:
        return {
            "status": status,
            "name": self.info.name,
            **training_progress(self.images, self.loader.images_per_epoch, self.timer.seconds),
            "score": self.evaluator.name,
            "final": self.evaluator.latest,
            "best": self.evaluator.best,
            "alarms": self.monitor.summary(),
            "parameters": {name: count_parameters(getattr(self.gan, name)) for name in ("generator", "discriminator")},
            "peak_memory_mib": peak_memory(self.device),
            **environment(self.device),
        }
