"""Where the time of a training goes, and how long the same takes without us and by the book."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gan_lab.benchmarks import phase_timing as players
from gan_lab.benchmarks.bare_step import bare_step, cycle
from gan_lab.benchmarks.step_report import StepResult, affordable, clock, happenings
from gan_lab.benchmarks.timing import Action, Repeated, interleaved
from gan_lab.benchmarks.tutorial import Tutorial, in_the_way, tutorial
from gan_lab.building.compute import COMPILED, MEMORY_FORMATS, memory_format
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.losses.base import LossTerm
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.reporting import live_pages
from gan_lab.runtime.environment import describe_device
from gan_lab.runtime.timer import peak_memory
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.callbacks import Callback, Trigger
from gan_lab.training.trainer import Trainer

BARE, LOOP, TUTORIAL = "bare step", "whole loop", "tutorial loop"

BEFORE_THE_FIRST_STEP = ("evaluation", "sampling", "checkpoint")
"""What is also done of the untrained generator."""

MANY = 10_000
"""Images that a loop is as slow on as on more."""

Events = Mapping[str, tuple[Trigger, Callback]]
"""Callbacks with their triggers, by name."""

LONG_AGO = 1e9
"""Seconds of training that let every score be afforded that may take a share of them."""


class StepBenchmark(Repeated):
    """The phases of a training, its loop as a whole, and beside it the bare step and the tutorial's loop.

    Args:
        rounds: times each is measured.
        steps: training steps in a measurement, or as many more as bring every player and every lazy term its turns.
        warmup: steps before.
        tutorial: whether the tutorial's loop is measured too.
    """

    def __init__(self, rounds: int, steps: int, warmup: int, tutorial: bool) -> None:
        super().__init__(rounds, steps, warmup)
        self._tutorial = tutorial

    def __call__(self, job: Job) -> StepResult:
        """``gan_lab.train``'s own objects do the work, logging and console included."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            trainer = build_trainer(replace(job, directory=RunDirectory(folder)))
            events = trainer.callbacks.schedule
            begin(trainer)
            _measure_every_time(trainer)
            why_not = in_the_way(job.cfg, trainer.updater.gan) if self._tutorial else "benchmark.tutorial=false"
            size = trainer.updater.growth_state.batch_size
            book = None if why_not else stack.enter_context(tutorial(job.cfg, trainer, size, folder, MANY))
            is_penalty = penalties_of(job, trainer)
            with trainer.progress.timer.running():
                seconds = self._whole(trainer, book)
                seconds |= self._phases(trainer, events, is_penalty)
            trainer.records.tracker.finish(trainer.records.summary("finished"))
        result = StepResult(seconds, dict.fromkeys((BARE, LOOP, TUTORIAL), size))
        result.times = _times(job, trainer, events, result, is_penalty)
        _tell(job, trainer, events, result, why_not)
        return result

    def _whole(self, trainer: Trainer, book: Tutorial | None) -> dict[str, list[float]]:
        """The loop and what it is held against, in rounds as short as can be: noise then hits all."""
        endless = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)
        steps, warmup = (_whole_turns(count, cycle(trainer)) for count in (self._steps, self._warmup))
        actions: dict[str, Action] = {BARE: bare_step(trainer, next(endless)), LOOP: lambda: trainer.step(next(endless))}
        interleaved(actions, 1, warmup, synchronize(trainer.device))
        seconds: dict[str, list[float]] = {name: [] for name in actions}
        if book is not None:
            book.steps(self._warmup)
            seconds[TUTORIAL] = []
        for _ in range(self._rounds):
            for name, values in interleaved(actions, 1, steps, synchronize(trainer.device)).items():
                seconds[name] += values
            if book is not None:
                seconds[TUTORIAL].append(book.steps(steps) / steps)
        return seconds

    def _phases(self, trainer: Trainer, events: Events, is_penalty: Callable[[LossTerm], bool]) -> dict[str, list[float]]:
        endless = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)
        batch, wait = trainer.updater.growth_state.match_resolution(next(endless)), synchronize(trainer.device)
        often: dict[str, Action] = {
            "data": lambda: next(endless),
            "average": lambda: trainer.updater.ema.update(
                trainer.loader.images_per_epoch, trainer.updater.growth_state.batch_size
            ),
        }
        steps = _whole_turns(self._steps, max(phase.update_interval for phase in trainer.updater.phases))
        seconds = interleaved(often, self._rounds, self._steps, wait)
        seconds |= players.measure(players.time_phases(trainer, is_penalty), trainer, batch, self._rounds, steps, wait)
        return seconds | interleaved({name: callback for name, (_, callback) in events.items()}, self._rounds, 1, wait)


def begin(trainer: Trainer) -> None:
    """As if the training had come to its end and went on for ever: grown, if it grows, at full rate, logging as configured."""
    trainer.callbacks = trainer.callbacks.subset(["logging"], end=sys.maxsize)
    trainer.evaluator.prepare(trainer.device, lambda done, total: None)
    trainer.records.tracker.start(trainer.records.info)
    trainer.progress.images, trainer.progress.total_images = trainer.progress.total_images, sys.maxsize
    trainer.updater.grow_to(trainer.updater.growth.state_at(trainer.progress.images))


def synchronize(device: torch.device) -> Callable[[], None]:
    """Wait until the device has done what it was told."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


def penalties_of(job: Job, trainer: Trainer) -> Callable[[LossTerm], bool]:
    """Whether a term comes from the group ``penalty`` and so is no part of the game itself."""
    named = {phase.name: job.cfg.penalty.get(players.NAMES[phase.name]) or {} for phase in trainer.updater.phases}
    found = [phase.terms[name] for phase in trainer.updater.phases for name in named[phase.name]]
    return lambda term: any(term is penalty for penalty in found)


def choices_in_force(job: Job, trainer: Trainer) -> dict[str, Any]:
    """How the arithmetic is done, with what every ``auto`` stands for here."""
    cfg, layout = job.cfg, memory_format(job.cfg, trainer.updater.phases[0].precision)
    return {
        "memory_format": next(name for name, chosen in MEMORY_FORMATS.items() if chosen is layout),
        "discriminator_passes": "joint" if trainer.updater.gan.joint_pass else "split",
        "reuse_fakes": trainer.updater.gan.reuse_fakes,
        "compile": next(name for name, networks in COMPILED.items() if set(networks) == set(trainer.updater.gan.compiled)),
        "activation_checkpointing": cfg.activation_checkpointing,
        "gradient_accumulation_steps": cfg.gradient_accumulation_steps,
        "optimizer.fused": all(bool(phase.optimizer.defaults.get("fused")) for phase in trainer.updater.phases),
        "precision": job.choices.get("precision", "fp32"),
        "num_threads": torch.get_num_threads(),
        "batch_size": trainer.updater.growth_state.batch_size,
        "device": describe_device(trainer.device),
        "torch": str(torch.__version__),
    }


def _measure_every_time(trainer: Trainer) -> None:
    """Scores and pages limit themselves to a share of the time; to see what one takes they are made whenever asked for."""
    from gan_lab.reporting.run_page import write_report  # brings matplotlib, which other benchmarks don't need

    def report(directory: RunDirectory) -> None:
        write_report(directory)

    trainer.progress.timer.seconds = LONG_AGO
    trainer.records.write_page = report


def _whole_turns(count: int, of: int) -> int:
    """``count``, made larger to a multiple of ``of``."""
    return -(-count // of) * of


def _times(
    job: Job, trainer: Trainer, events: Events, result: StepResult, is_penalty: Callable[[LossTerm], bool]
) -> dict[str, float]:
    """How often each phase happens in a step of the configured training."""
    end, size = trainer.records.info.total_images, trainer.updater.growth_state.batch_size
    steps = -(-end // size)
    found = {turn.measured: turn.times for turn in players.time_phases(trainer, is_penalty)}
    times = {"data": 1.0, **found, "average": 1.0}
    limits = {"evaluation": job.cfg.evaluation.max_time_fraction, "page": live_pages.MAX_TIME_FRACTION}
    for name, (cadence, _) in events.items():
        wanted = happenings(cadence, end, size) + (name in BEFORE_THE_FIRST_STEP)
        count = affordable(wanted, result.median(name), limits.get(name), steps * result.median(LOOP))
        times[name] = count / steps
    return times


def _tell(job: Job, trainer: Trainer, events: Events, result: StepResult, why_not: str) -> None:
    """Ratios, figures and facts that follow."""
    result.ratios[f"{LOOP} / {BARE}"] = result.ratio(LOOP, BARE)
    if TUTORIAL in result.seconds:
        result.ratios[f"images/s of the {LOOP} / of the {TUTORIAL}"] = result.ratio(TUTORIAL, LOOP)
    end, size = trainer.records.info.total_images, trainer.updater.growth_state.batch_size
    steps = -(-end // size)
    training = result.median(LOOP) * steps  # logging included
    whole = training + steps * sum(result.per_step(name) for name in events if name != "logging")
    result.choices = choices_in_force(job, trainer)
    result.figures = {
        "images_per_second": size / result.median(LOOP),
        "training_seconds_per_kimg": 1000 * training / end,
        "seconds_per_kimg": 1000 * whole / end,
        "training_seconds": training,
        "run_seconds": whole,
        "peak_memory_mib": peak_memory(trainer.device),
    }
    at_most = "at most " if isinstance(trainer.updater.gan.generator, ProgressiveNetwork) else ""  # smaller sizes take less
    result.facts = {
        "seconds per kimg": f"{1000 * training / end:.3g} training, {1000 * whole / end:.3g} with all",
        "the run as configured": f"{at_most}{clock(whole)} for {end / 1000:g} kimg, {clock(training)} of it training",
        "peak memory": f"{result.figures['peak_memory_mib']:,.0f} MiB",
        **({TUTORIAL: f"left out, {why_not}"} if why_not else {}),
        "compute": trainer.records.info.facts["compute"] + (", optimizers fused" if result.choices["optimizer.fused"] else ""),
        "precision": str(result.choices["precision"]),
        "machine": f"{result.choices['device']}, torch {result.choices['torch']}",
    }
