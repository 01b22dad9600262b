"""What a run will cost on this machine, from a short trial: ``python -m gan_lab.train plan=true``."""

from __future__ import annotations

import logging
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import OmegaConf

from gan_lab.benchmarks.bare_step import steps_per_cycle
from gan_lab.benchmarks.growth import step_at
from gan_lab.benchmarks.step import write_page_without_configuration
from gan_lab.benchmarks.step_report import affordable_count, count_events
from gan_lab.benchmarks.timing import print_notes, synchronizer
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.iteration.growth import GrowthState
from gan_lab.metrics.suite import MetricSuite
from gan_lab.reporting import live_pages
from gan_lab.runtime.timer import MIB, peak_memory
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer
from gan_lab.utils.formatting import format_count, format_duration
from gan_lab.utils.terminal import print_table

TRIAL_SECONDS = 3.0
"""The steps of each resolution are tried for at least so many seconds."""

FEW_IMAGES = 32
"""Generated images of the smallest trial evaluation."""

LONG = 3600.0
"""Seconds of a run above which the plan says how to make it shorter."""


@dataclass
class Stage:
    """A part of the training with one resolution and batch size.

    Attributes:
        state: of the networks.
        images: of the run that are trained in it.
        seconds: of training for all of them.
    """

    state: GrowthState
    images: float
    seconds: float = 0.0


@dataclass
class Plan:
    """The estimated cost of a run.

    Attributes:
        images: of the run.
        rows: for each kind of work what it is, how often it is done, and the seconds of all of it.
        checkpoint_mib: size of a checkpoint.
        disk_mib: size of the run directory at its end.
        memory_mib: peak memory.
    """

    images: int
    rows: list[tuple[str, float, float]] = field(default_factory=list)
    checkpoint_mib: float = 0.0
    disk_mib: float = 0.0
    memory_mib: float = 0.0

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(seconds for _, _, seconds in self.rows)

    def print(self, runs: int = 1) -> None:
        """Print the cost of the run, and of ``runs`` runs like it."""
        table = [
            [what, f"{times:,.0f}", format_duration(seconds), f"{seconds / self.seconds:.0%}"]
            for what, times, seconds in self.rows
        ]
        print_table(["work", "times", "time", "fraction"], table)
        notes = [
            f"about {format_duration(self.seconds)} for {self.images / 1000:g} kimg",
            f"memory: {self.memory_mib:,.0f} MiB at its peak",
            f"disk: {self.disk_mib:,.0f} MiB, with checkpoints of {self.checkpoint_mib:,.0f} MiB",
        ]
        if runs > 1:
            notes.append(f"{format_count(runs, 'run')}: about {format_duration(runs * self.seconds)}, one after the other")
        if runs * self.seconds > LONG:
            notes.append("shorter: epochs=..., kimg=... or max_seconds=...; a smaller dataset.size; evaluation=none")
        print_notes(*notes)


def make_plan(job: Job) -> Plan:
    """Try the networks, the evaluation and the other work of a run for some seconds each, and extrapolate to the whole run.

    Nothing is left behind.
    """
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        cfg = job.cfg.copy()
        if OmegaConf.select(cfg, "evaluation.batch_size") is not None:
            cfg.evaluation.batch_size = min(cfg.evaluation.batch_size, FEW_IMAGES)
        trainer = build_trainer(replace(job, cfg=cfg, directory=RunDirectory(Path(folder))))
        plan = Plan(trainer.progress.total_images)
        stages = list(_stages(trainer))
        for stage in stages:
            _time(trainer, stage)
            size = stage.state.resolution
            plan.rows.append((f"training at {size}x{size}", stage.images / stage.state.batch_size, stage.seconds))
        _add_other_work(trainer, plan, stages[-1].state.batch_size)
        plan.memory_mib = peak_memory(trainer.device)
        trainer.records.tracker.finish(trainer.records.summary("finished"))
    return plan


def _stages(trainer: Trainer) -> Iterator[Stage]:
    """The stages of the run, smallest resolution first; a fade-in counts as part of the resolution it leads to."""
    total, points = trainer.progress.total_images, 1000
    by_size: dict[tuple[int, int], Stage] = {}
    for n in range(points):
        state = trainer.updater.growth.state_at(n * total // points)
        stage = by_size.setdefault((state.resolution, state.batch_size), Stage(state, 0.0))
        stage.images += total / points
    yield from by_size.values()


def _time(trainer: Trainer, stage: Stage) -> None:
    """Measure the seconds of a step and extrapolate to the stage."""
    trainer.updater.growth.reset_optimizer = False
    step, cycle, synchronize = step_at(trainer, stage.state), steps_per_cycle(trainer), synchronizer(trainer.device)
    step()
    synchronize()
    started, steps = time.perf_counter(), 0
    while not steps or steps % cycle or time.perf_counter() - started < TRIAL_SECONDS:
        step()
        steps += 1
        synchronize()
    seconds = (time.perf_counter() - started) / steps
    stage.seconds = seconds * math.ceil(stage.images / stage.state.batch_size)


def _add_other_work(trainer: Trainer, plan: Plan, batch_size: int) -> None:
    """Measure what happens between steps once, and extrapolate to the run."""
    events, training = trainer.callbacks.events, plan.seconds
    trainer.callbacks = trainer.callbacks.subset([], end=sys.maxsize)
    trainer.records.write_page = write_page_without_configuration
    trainer.records.tracker.start(trainer.records.info)
    trainer.progress.images = trainer.progress.total_images - batch_size
    counts: dict[str, float] = {}
    for name, event in events.items():
        if name == "logging" or (name == "evaluation" and trainer.evaluator.name is None):
            continue
        seconds = _evaluation_seconds(trainer, plan) if name == "evaluation" else _seconds_of(event.callback, trainer)
        limit = live_pages.MAX_TIME_FRACTION if name == "page" else event.max_time_fraction
        unlimited = count_events(event.trigger, plan.images, batch_size) + 1  # of the untrained networks, or at the end
        counts[name] = affordable_count(unlimited, seconds, limit, training)
        plan.rows.append((name, counts[name], counts[name] * seconds))
    directory = trainer.records.directory
    plan.checkpoint_mib = directory.checkpoint("last").stat().st_size / MIB
    kept = trainer.triggers.kept_checkpoint
    number = min(trainer.checkpointer.keep, counts["checkpoint"]) + 1 + count_events(kept, plan.images, batch_size)
    grids = sum(path.stat().st_size for path in directory.samples.glob("*.png")) / MIB
    plan.disk_mib = number * plan.checkpoint_mib + 2 * counts["sampling"] * grids  # the page holds the grids as well


def _seconds_of(callback: Callable[[], object], trainer: Trainer) -> float:
    started = time.perf_counter()
    callback()
    trainer.checkpointer.wait()
    return time.perf_counter() - started


def _evaluation_seconds(trainer: Trainer, plan: Plan) -> float:
    """The seconds of an evaluation, from smaller ones; adds the features of the real images to the plan."""
    suite = trainer.evaluator.suite
    if not isinstance(suite, MetricSuite):  # of super-resolution: as many images as there are
        trainer.evaluator.prepare(trainer.device, lambda done, total: None)
        return _seconds_of(trainer.evaluation, trainer)
    wanted = max(evaluation.protocol.num_fakes for evaluation in suite.evaluations)
    reals = max(len(evaluation.data) for evaluation in suite.evaluations)
    for evaluation in suite.evaluations:
        evaluation.data = evaluation.data.random_subset(min(len(evaluation.data), 4 * FEW_IMAGES), 0)
    trainer.evaluator.prepare(trainer.device, lambda done, total: None)

    def seconds(count: int) -> float:
        for evaluation in suite.evaluations:
            evaluation.protocol = replace(evaluation.protocol, num_fakes=count)
        return _seconds_of(trainer.evaluation, trainer)

    seconds(FEW_IMAGES)  # the first one loads modules and chooses algorithms
    few, count = seconds(FEW_IMAGES), FEW_IMAGES
    many = few
    while count < wanted and many - few < TRIAL_SECONDS:
        count = min(2 * count, wanted)
        many = seconds(count)
    per_image = max(0.0, many - few) / max(1, count - FEW_IMAGES)
    plan.rows.append(("features of the reals, unless stored", 1, per_image * reals))
    return many + per_image * (wanted - count)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without log lines, which are about the trial and not about the run."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
