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

from gan_lab.data.loader import Batch, Stream
from gan_lab.runtime.distributed import Alone
from gan_lab.runtime.environment import count_parameters, environment, pace
from gan_lab.runtime.timer import Stopwatch, forget_peak_memory, peak_memory
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking.base import RunInfo, Tracker
from gan_lab.tracking.files import write_summary
from gan_lab.training.callbacks import Cadence, Cadences, Events
from gan_lab.training.checkpointer import restore, state_of
from gan_lab.training.evaluator import Scorekeeper
from gan_lab.training.graceful_shutdown import Interruption
from gan_lab.training.growth import Growth, Stage
from gan_lab.training.image_sampler import Sampler
from gan_lab.training.loss_context import Game, Handed
from gan_lab.training.metric_averager import Meter
from gan_lab.training.monitor import Health
from gan_lab.training.overfitting import HeldOut, NothingHeldOut
from gan_lab.training.phase import Phase
from gan_lab.training.pretraining import Pretraining
from gan_lab.training.resume_hint import tell_how_to_go_on
from gan_lab.training.sample_grid import Preview
from gan_lab.training.schedule import Schedule
from gan_lab.utils.image_ops import NotFinite

log = logging.getLogger(__name__)


class Diverged(RuntimeError):
    """A loss or a weight is no longer a finite number."""


def by_the_leader(method: Callable[..., None]) -> Callable[..., None]:
    """Of the processes that train together one alone writes and speaks."""

    @functools.wraps(method)
    def wrapped(self: Trainer, *arguments: Any) -> None:
        if self.ranks.leads:
            method(self, *arguments)

    return wrapped


@dataclass
class Trainer:
    """Everything one training is made of; :func:`gan_lab.building.trainer.build_trainer` puts it together.

    ``images``, the number of real images drawn from the stream, is the only clock.
    """

    game: Game
    phases: Sequence[Phase]
    stream: Stream
    sampler: Sampler
    growth: Growth
    schedule: Schedule
    scores: Scorekeeper
    health: Health
    held_out: HeldOut | NothingHeldOut
    preview: Preview
    tracker: Tracker
    report: Callable[..., None]
    info: RunInfo
    directory: RunDirectory
    device: torch.device
    cadences: Cadences
    total_images: int
    pretraining: Pretraining = field(default_factory=Pretraining)
    ranks: Alone = field(default_factory=Alone)
    images: int = 0
    iteration: int = 0
    meter: Meter = field(default_factory=Meter)

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.device)
        self.average = self.sampler.average
        self.stage = self.growth.at(self.images)
        self.growth.apply(self.stage, self._networks())
        forget_peak_memory(self.device)
        self._logged = (0, 0.0)
        self._untrained: Sampler | None = None
        self.actions: dict[str, tuple[Cadence, Callable[[], None]]] = {
            "logging": (self.cadences.log, self.log_figures),
            "evaluation": (self.cadences.evaluate, self._evaluate),
            "sampling": (self.cadences.sample, self._sample),
            "checkpoint": (self.cadences.checkpoint, self._checkpoint),
            "page": (self.cadences.sample, self._report),
        }
        self.events = Events(self.actions.values(), end=self.total_images)

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
        with Interruption() as interruption:
            try:
                self.scores.prepare(self.device, self._telling("reals"))
                self._start_together()
                self._begin()
                with self.stopwatch.running():
                    status = self._loop(interruption)
                if status == "stopped":
                    self._checkpoint()
                elif status == "stopped early":
                    self._end_early()
            except (Diverged, NotFinite) as error:
                status = "diverged"
                raise Diverged(str(error)) from error
            finally:
                self._end(status)
        if interruption.signal is not None and status == "stopped":
            raise KeyboardInterrupt if interruption.signal is signal.SIGINT else SystemExit(128 + interruption.signal)
        return self.summary(status)

    def _loop(self, interruption: Interruption) -> str:
        for batch in self.stream.batches(self.images, lambda images: self.growth.at(images).batch_size):
            if self.images >= self.total_images:
                break
            if stop := self.ranks.agree(interruption.signal or 0):
                interruption.signal = signal.Signals(stop)
                return "stopped"
            if self.health.ended_by is not None:
                return "stopped early"
            self.step(batch)
        return "stopped early" if self.health.rolls_back else "finished"

    def step(self, batch: Batch) -> None:
        """The networks grow; each player whose turn it is moves once; the average follows; what falls due is done."""
        progress = self.pretraining.progress(self.images, self.total_images)
        stage = self.enter(self.growth.at(self.images))
        batch = stage.show(batch)
        self.game.augment.set_progress(progress)
        phases = self.pretraining.phases if self.pretraining.going_on(self.images) else self.phases
        due = [phase for phase in phases if phase.due(self.iteration)]
        handed = Handed() if self.game.reuses_fakes and len(due) == len(self.phases) else None
        for phase in due:
            phase.set_rate(self.schedule(progress) * stage.rate)
            self.meter.add(phase.step(self.game, batch, handed))
        before, self.images = self.images, self.images + len(batch.real) * self.ranks.count
        self.iteration += 1
        self.average.update(self.images, self.images - before)
        self.tracker.progress(self.images)
        if self.pretraining.ends_between(before, self.images):
            with self.stopwatch.resting():
                self._save("pretrained")
        if actions := self.events.due(before, self.images):
            with self.stopwatch.resting():
                for action in actions:
                    action()

    def enter(self, stage: Stage) -> Stage:
        """Bring everything to a stage; new layers come with fresh optimizers (Karras et al. 2018, appendix A.1)."""
        if stage == self.stage:
            return stage
        self.growth.apply(stage, self._networks())
        if self.growth.reset_optimizer and stage.layers != self.stage.layers:
            for phase in self.phases:
                phase.forget()
        self.stage = stage
        return stage

    @property
    def every_phase(self) -> list[Phase]:
        """Those of both stages."""
        return [*self.pretraining.phases, *self.phases]

    def _networks(self) -> tuple[nn.Module, ...]:
        return self.game.generator, self.game.discriminator, self.average.network

    # -- events ----------------------------------------------------------------------------------------------------------

    def _start_together(self) -> None:
        """With the same weights, whatever another machine makes of a seed, and with random numbers of each process's own."""
        for network in self._networks():
            self.ranks.lead_([*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())])
        if self.images == 0 and not self.ranks.leads:
            torch.manual_seed(torch.initial_seed() + self.ranks.rank)  # of dropout and augmentation, not of latents

    def _begin(self) -> None:
        self._logged = (self.images, self.stopwatch.seconds)
        self._put_in_order()
        if self.images == 0:
            self._untrained = self.sampler.as_it_is()
            self._sample()
            self._checkpoint()  # so that from here on there is always something to go on from

    @by_the_leader
    def _put_in_order(self) -> None:
        """The directory, before the first step: nothing of a future that this training will not have."""
        self._write_summary("running")
        self.preview.drop_after(self.images)
        if self.scores.outdated is not None and (best := self.directory.checkpoint("best")).exists():
            best.replace(self.directory.checkpoint(f"best-{self.scores.outdated}"))  # nothing is lost that was the best once
        if self.images == 0:
            self.tracker.picture("reals", self.preview.save_reals(self.stream), 0)

    def log_figures(self) -> None:
        """Read the meter, tell the trackers, and see whether all is still finite."""
        self._score_untrained()
        figures = self.meter.read(self.ranks)
        images, seconds = self.images - self._logged[0], self.stopwatch.seconds - self._logged[1]
        self._logged = (self.images, self.stopwatch.seconds)
        for phase in self.pretraining.phases if self.pretraining.going_on(self.images - 1) else self.phases:
            figures |= phase.settings()
        figures |= self.growth.figures(self.stage)
        if images and seconds:
            figures["time/images_per_second"] = images / seconds
            figures["time/epoch"] = seconds / images * self.stream.images_per_epoch
        figures["memory/peak_mib"] = peak_memory(self.device)
        self._record(figures)
        if broken := [phase.name for phase in self.every_phase if phase.is_broken(figures)]:
            raise Diverged(f"{' and '.join(f'{name}/loss' for name in broken)} no longer finite at {self.images} images")

    def _score_untrained(self) -> None:
        """The first point of the curve, before the next: nobody who starts a run wants to wait for it."""
        if self._untrained is not None:
            if scores := self.scores.measure(self._untrained, 0, self._telling("score")):
                row = {"images": 0, "epoch": 0.0, "seconds": 0.0, **scores}
                self.tracker.metrics({**row, **self.health.look(row, 0)})
            self._untrained = None

    def _evaluate(self) -> None:
        self._score_untrained()
        at_end = self.images >= self.total_images or self.health.ended_by is not None
        if not at_end and not self.ranks.share(self.scores.affords(self.stopwatch.seconds)):
            return
        self._average_statistics()
        scores = self.scores.measure(self.sampler, self.images, self._telling("score"))
        overfitting = self.ranks.of_leader(lambda: self.held_out(self.stage)) if self.images else {}  # untrained, it has none
        if figures := scores | overfitting:
            self._record(figures)
        if scores and self.scores.improve():
            self._save("best")

    def _average_statistics(self) -> None:
        """Running statistics, which each process takes of its own part of the batches."""
        for network in self._networks():
            self.ranks.average_([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    @by_the_leader
    def _sample(self) -> None:
        images = self.sampler.generate(self.preview.latents, self.preview.labels)
        path = self.preview.save_samples(images, self.images)
        self.tracker.picture("samples", path, self.images)

    def _checkpoint(self) -> None:
        self._save("last")
        self._write_summary("running")

    @by_the_leader
    def _write_summary(self, status: str) -> None:
        write_summary(self.directory, self.summary(status))

    @by_the_leader
    def _report(self) -> None:
        self.report(self.directory)

    def _end_early(self) -> None:
        """An alarm ends the training: with all that belongs to an end, or as its best checkpoint."""
        if not self.health.rolls_back:
            for action in self.events.left():
                action()
            return
        best = self.directory.checkpoint("best")
        restore(self, {**checkpoint.load(best), "health": self.health.state_dict()})  # the alarms are still to be told
        self._save("last")
        self._forget_the_future()
        self._sample()
        log.info("back at the best checkpoint, of %s images", f"{self.images:,}")

    @by_the_leader
    def _forget_the_future(self) -> None:
        self.preview.drop_after(self.images)
        self.tracker.roll_back(self.images)

    @by_the_leader
    def _end(self, status: str) -> None:
        self.tracker.finish(self.summary(status))
        self.report(self.directory, final=True)
        log.info("%s at %s images after %.0f s of training", status, f"{self.images:,}", self.stopwatch.seconds)
        if score := self.scores.told():
            log.info("score: %s", score)
        tell_how_to_go_on(self.directory, status, self.health.ended_by)

    # -- what events are made of -----------------------------------------------------------------------------------------

    def _telling(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.tracker.activity(what, done, total)

    def _record(self, figures: Mapping[str, float]) -> None:
        clock = {"images": self.images, "epoch": self.images / self.stream.images_per_epoch, "seconds": self.stopwatch.seconds}
        self.tracker.metrics({**clock, **figures, **self.health.look({**clock, **figures}, self.images)})

    def _save(self, which: str) -> None:
        if not checkpoint.is_finite(self.game.generator, self.game.discriminator):
            raise Diverged(f"a weight is no longer finite at {self.images} images")
        self._average_statistics()
        self._write(which, state_of(self))

    @by_the_leader
    def _write(self, which: str, state: dict[str, Any]) -> None:
        checkpoint.save(self.directory.checkpoint(which), state)

    def summary(self, status: str) -> dict[str, Any]:
        return {
            "status": status,
            "name": self.info.name,
            **pace(self.images, self.stream.images_per_epoch, self.stopwatch.seconds),
            "score": self.scores.name,
            "final": self.scores.latest,
            "best": self.scores.best,
            "alarms": self.health.summary(),
            "parameters": {name: count_parameters(getattr(self.game, name)) for name in ("generator", "discriminator")},
            "peak_memory_mib": peak_memory(self.device),
            **environment(self.device),
        }
