"""Time of each phase of a training step, compared with the bare step and the loop of DCGAN tutorials."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gan_lab.benchmarks.bare_step import bare_step, steps_per_cycle
from gan_lab.benchmarks.phase_timing import NETWORKS, measure_phases, split_phases
from gan_lab.benchmarks.step_report import StepResult, affordable_count, count_events
from gan_lab.benchmarks.timing import Action, Repeated, interleaved, start_at_end, synchronizer
from gan_lab.benchmarks.tutorial import Tutorial, start_tutorial, tutorial_obstacle
from gan_lab.building.compute import COMPILED, MEMORY_FORMATS, memory_format
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.losses.base import LossTerm
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.reporting import live_pages
from gan_lab.runtime.environment import describe_device
from gan_lab.runtime.timer import peak_memory
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.callbacks import Event
from gan_lab.training.trainer import Trainer
from gan_lab.utils.formatting import format_duration

BARE, LOOP, TUTORIAL = "bare step", "whole loop", "tutorial loop"

BEFORE_TRAINING = ("evaluation", "sampling", "checkpoint")
"""Callbacks that are also called before the first step."""

MAX_TUTORIAL_IMAGES = 10_000
"""Images passed to the tutorial's process; its speed does not depend on their number."""

Events = Mapping[str, Event]
"""Callbacks with their triggers and time limits, by name."""

UNLIMITED_SECONDS = 1e9
"""A training time of which a fraction is enough for every evaluation."""


class StepBenchmark(Repeated):
    """Measures the phases of training, the whole loop, the bare step, and the loop of DCGAN tutorials.

    Args:
        rounds: number of measurements of each action.
        steps: training steps per measurement, rounded up so that every measurement has the same updates.
        warmup: unmeasured training steps before.
        tutorial: whether to measure the loop of DCGAN tutorials as well.
    """

    def __init__(self, rounds: int, steps: int, warmup: int, tutorial: bool) -> None:
        super().__init__(rounds, steps, warmup)
        self._tutorial = tutorial

    def __call__(self, job: Job) -> StepResult:
        """Measure the trainer that ``gan_lab.train`` would build, with its logging and console."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            trainer = build_trainer(replace(job, directory=RunDirectory(folder)))
            events = trainer.callbacks.events
            start_at_end(trainer)
            _disable_time_limits(trainer)
            obstacle = tutorial_obstacle(job.cfg, trainer.updater.gan) if self._tutorial else "benchmark.tutorial=false"
            size = trainer.updater.growth_state.batch_size
            tutorial = None
            if not obstacle:
                tutorial = stack.enter_context(start_tutorial(job.cfg, trainer, size, folder, MAX_TUTORIAL_IMAGES))
            is_penalty = find_penalties(job, trainer)
            with trainer.progress.timer.running():
                seconds = self._measure_loops(trainer, tutorial)
                seconds |= self._measure_phases(trainer, events, is_penalty)
            trainer.records.tracker.finish(trainer.records.summary("finished"))
        result = StepResult(seconds, dict.fromkeys((BARE, LOOP, TUTORIAL), size))
        result.times = _times_per_step(job, trainer, events, result, is_penalty)
        _add_estimates(job, trainer, events, result, obstacle)
        return result

    def _measure_loops(self, trainer: Trainer, tutorial: Tutorial | None) -> dict[str, list[float]]:
        """Measure the whole loop, the bare step and the tutorial alternately, in short rounds."""
        batches = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)
        steps, warmup = (_round_up(count, steps_per_cycle(trainer)) for count in (self._steps, self._warmup))
        actions: dict[str, Action] = {BARE: bare_step(trainer, next(batches)), LOOP: lambda: trainer.step(next(batches))}
        interleaved(actions, 1, warmup, synchronizer(trainer.device))
        seconds: dict[str, list[float]] = {name: [] for name in actions}
        if tutorial is not None:
            tutorial.steps(self._warmup)
            seconds[TUTORIAL] = []
        for _ in range(self._rounds):
            for name, values in interleaved(actions, 1, steps, synchronizer(trainer.device)).items():
                seconds[name] += values
            if tutorial is not None:
                seconds[TUTORIAL].append(tutorial.steps(steps) / steps)
        return seconds

    def _measure_phases(
        self, trainer: Trainer, events: Events, is_penalty: Callable[[LossTerm], bool]
    ) -> dict[str, list[float]]:
        updater, synchronize = trainer.updater, synchronizer(trainer.device)
        batches = trainer.loader.batches(0, lambda images: updater.growth_state.batch_size)
        batch = updater.growth_state.match_resolution(next(batches))
        every_step: dict[str, Action] = {
            "data": lambda: next(batches),
            "EMA": updater.ema.update,
        }
        steps = _round_up(self._steps, max(phase.update_interval for phase in updater.phases))
        seconds = interleaved(every_step, self._rounds, self._steps, synchronize)
        timings = split_phases(trainer, is_penalty)
        seconds |= measure_phases(timings, trainer, batch, self._rounds, steps, synchronize)
        callbacks = {name: event.callback for name, event in events.items()}
        return seconds | interleaved(callbacks, self._rounds, 1, synchronize)


def find_penalties(job: Job, trainer: Trainer) -> Callable[[LossTerm], bool]:
    """A function that returns whether a loss term comes from the group ``penalty``."""
    named = {phase.name: job.cfg.penalty.get(NETWORKS[phase.name]) or {} for phase in trainer.updater.phases}
    penalties = [phase.terms[name] for phase in trainer.updater.phases for name in named[phase.name]]
    return lambda term: any(term is penalty for penalty in penalties)


def effective_settings(job: Job, trainer: Trainer) -> dict[str, Any]:
    """The settings that affect the speed, with the value that each ``auto`` stands for on this machine."""
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


def _disable_time_limits(trainer: Trainer) -> None:
    """Evaluate and write the page at every call; they would otherwise be skipped beyond a fraction of the training time."""
    trainer.progress.timer.seconds = UNLIMITED_SECONDS
    trainer.records.write_page = write_page_without_configuration


def write_page_without_configuration(directory: RunDirectory, final: bool = False) -> bool:
    """Write the page of a trial, which has no configuration file."""
    live_pages.write_run_page(directory, lambda of: [])
    return True


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _times_per_step(
    job: Job, trainer: Trainer, events: Events, result: StepResult, is_penalty: Callable[[LossTerm], bool]
) -> dict[str, float]:
    """How often each phase is executed per training step of the configured run."""
    end, size = trainer.records.info.total_images, trainer.updater.growth_state.batch_size
    steps = -(-end // size)
    updates = {timing.reported_name: timing.times for timing in split_phases(trainer, is_penalty)}
    times = {"data": 1.0, **updates, "EMA": 1.0}
    for name, event in events.items():
        unlimited = count_events(event.trigger, end, size) + (name in BEFORE_TRAINING)
        limit = live_pages.MAX_TIME_FRACTION if name == "page" else event.max_time_fraction
        count = affordable_count(unlimited, result.median(name), limit, steps * result.median(LOOP))
        times[name] = count / steps
    return times


def _add_estimates(job: Job, trainer: Trainer, events: Events, result: StepResult, obstacle: str) -> None:
    """Add ratios, estimates for the configured run, and facts; ``obstacle`` is why the tutorial was not measured."""
    result.ratios[f"{LOOP} / {BARE}"] = result.ratio(LOOP, BARE)
    if TUTORIAL in result.seconds:
        result.ratios[f"images/s of the {LOOP} / of the {TUTORIAL}"] = result.ratio(TUTORIAL, LOOP)
    end, size = trainer.records.info.total_images, trainer.updater.growth_state.batch_size
    steps = -(-end // size)
    training = result.median(LOOP) * steps  # includes logging
    total = training + steps * sum(result.seconds_per_step(name) for name in events if name != "logging")
    result.choices = effective_settings(job, trainer)
    result.estimates = {
        "images_per_second": size / result.median(LOOP),
        "training_seconds_per_kimg": 1000 * training / end,
        "seconds_per_kimg": 1000 * total / end,
        "training_seconds": training,
        "run_seconds": total,
        "peak_memory_mib": peak_memory(trainer.device),
    }
    at_most = "at most " if isinstance(trainer.updater.gan.generator, ProgressiveNetwork) else ""  # lower resolutions take less
    result.facts = {
        "seconds per kimg": f"{1000 * training / end:.3g} of training, {1000 * total / end:.3g} in total",
        "configured run": (
            f"{at_most}{format_duration(total)} for {end / 1000:g} kimg, of which {format_duration(training)} training"
        ),
        "peak memory": f"{result.estimates['peak_memory_mib']:,.0f} MiB",
        **({TUTORIAL: f"not measured, {obstacle}"} if obstacle else {}),
        "compute": trainer.records.info.facts["compute"] + (", optimizers fused" if result.choices["optimizer.fused"] else ""),
        "precision": str(result.choices["precision"]),
        "machine": f"{result.choices['device']}, torch {result.choices['torch']}",
    }
