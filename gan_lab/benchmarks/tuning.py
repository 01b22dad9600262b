"""Finds the settings that make a training step fastest for a model on this machine."""

from __future__ import annotations

import copy
import logging
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from omegaconf import OmegaConf

from gan_lab.benchmarks.bare_step import steps_per_cycle
from gan_lab.benchmarks.step import effective_settings
from gan_lab.benchmarks.timing import interleaved, synchronizer
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job, format_choice
from gan_lab.models.layers import BatchDependent
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer
from gan_lab.utils.shell import format_command
from gan_lab.utils.terminal import print_table

MIN_SPEEDUP = 1.03
"""Smallest median speedup for which a setting is kept; it must also be faster in every round."""

UNLIMITED_IMAGES = 2**62


@dataclass(frozen=True)
class Choice:
    """A configuration key and the values to try for it.

    Attributes:
        key: the key.
        values: in the order in which they are tried.
        dependents: keys of the resolved configuration that are set to the same value.
        recipe: whether it changes the training result.
    """

    key: str
    values: tuple[Any, ...]
    dependents: tuple[str, ...] = ()
    recipe: bool = False

    def apply(self, job: Job, value: Any) -> Job:
        """A copy of the job with this value."""
        cfg = copy.deepcopy(job.cfg)
        for key in (self.key, *self.dependents):
            OmegaConf.update(cfg, key, value)
        return replace(job, cfg=cfg)


CHOICES = (
    Choice("memory_format", ("channels_last", "contiguous")),
    Choice("optimizer.fused", (False,), ("optimizer.generator.fused", "optimizer.discriminator.fused")),
    Choice("discriminator_passes", ("split", "joint")),
    Choice("reuse_fakes", (True, False), recipe=True),
    Choice("compile", ("generator", "both")),
)
"""The settings to try. ``compile`` comes last because the others change what is compiled. ``optimizer.fused=true`` is not
tried, as optimizers are fused by default unless there is a reason against it."""


@dataclass
class Trial:
    """A setting compared with the best settings before it.

    Attributes:
        choice: the setting, as an override.
        faster: the speedup in each round; empty if the setting is not available here.
        kept: whether the setting is kept.
        note: further information for the table.
        compile_seconds: duration of compilation, or None.
    """

    choice: str
    faster: list[float]
    kept: bool = False
    note: str = ""
    compile_seconds: float | None = None

    def is_faster(self) -> bool:
        """Whether the speedup exceeds the measurement noise."""
        return bool(self.faster) and statistics.median(self.faster) > MIN_SPEEDUP and min(self.faster) > 1


@dataclass
class TuneResult:
    """Result of :func:`tune`.

    Attributes:
        trials: the settings that were tried, in order.
        kept: the settings to use, as overrides.
        path: the file with these overrides, one per line.
        given: the overrides of the command line.
    """

    trials: list[Trial]
    kept: list[str]
    path: Path
    given: Sequence[str] = field(default_factory=tuple)

    def print(self) -> None:
        rows = []
        for trial in self.trials:
            speedups = [f"{f(trial.faster):.3f}" for f in (statistics.median, min, max)] if trial.faster else ["", "", ""]
            rows.append([trial.choice, *speedups, "yes" if trial.kept else "", trial.note])
        notes = [f"no setting is at least {MIN_SPEEDUP - 1:.0%} faster than the configured one"]
        if self.kept:
            command = f"{format_command('train', *self.given)} $(cat {quote(str(self.path))})"
            notes = [f"{self.path}: {' '.join(self.kept)}", command]
        print_table(["tried", "speedup", "lowest", "highest", "kept", "note"], rows, notes)

    def to_dict(self) -> dict[str, Any]:
        return {"trials": [vars(trial) for trial in self.trials], "kept": self.kept}


def tune(job: Job, given: Sequence[str], recipe: bool, rounds: int, steps: int) -> TuneResult:
    """Compare one setting at a time with the best so far, and keep it if it is faster by more than the noise.

    The overrides of the kept settings are written to ``tuned.txt`` in the job's directory.

    Args:
        job: the configured run.
        given: the overrides of its command line.
        recipe: whether to try settings that change the training result as well.
        rounds: number of measurements of each setting.
        steps: training steps per measurement.
    """
    best, trials, kept = _without_auto(job), list[Trial](), dict[str, Any]()
    for choice in CHOICES:
        changes_result = choice.recipe or (choice.key == "discriminator_passes" and _has_batch_dependent_layer(best))
        if changes_result and not recipe:
            continue
        for value in choice.values:
            if OmegaConf.select(best.cfg, choice.key) in (None, value):
                continue
            candidate = choice.apply(best, value)
            trial = _compare(best, candidate, f"{choice.key}={format_choice(value)}", rounds, steps)
            trial.note = "; ".join(filter(None, ("changes the training result" if changes_result else "", trial.note)))
            trial.kept = trial.is_faster()
            trials.append(trial)
            if trial.kept:
                best, kept = candidate, kept | {choice.key: value}
    path = job.directory.path / "tuned.txt"
    overrides = [f"{key}={format_choice(value)}" for key, value in kept.items()]
    write_atomically(path, "".join(f"{line}\n" for line in overrides))
    return TuneResult(trials, overrides, path, given)


def _compare(best: Job, candidate: Job, choice: str, rounds: int, steps: int) -> Trial:
    """Measure steps of two jobs alternately, after unmeasured steps in which networks are compiled."""
    with tempfile.TemporaryDirectory() as scratch, captured_warnings() as warnings:
        trainers = [_trainer(job, Path(scratch) / str(n)) for n, job in enumerate((best, candidate))]
        loops = {name: _Loop(trainer) for name, trainer in zip(("best", "candidate"), trainers, strict=True)}
        cycle = steps_per_cycle(trainers[0])
        steps = -(-steps // cycle) * cycle  # so that every measurement contains the same updates
        warmup = interleaved(loops, 1, steps)
        if fallbacks := [warning for warning in warnings if "continues without compiling" in warning]:
            return Trial(choice, [], note=fallbacks[0])
        seconds = interleaved(loops, rounds, steps)
    trial = Trial(choice, [a / b for a, b in zip(seconds["best"], seconds["candidate"], strict=True)])
    if candidate.cfg.compile != best.cfg.compile:
        trial.compile_seconds = max(0.0, (warmup["candidate"][0] - statistics.median(seconds["candidate"])) * steps)
        trial.note = f"{trial.compile_seconds:.0f} s for compiling"
    return trial


class _Loop:
    """A training step of a trainer without limit."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._synchronize = trainer, synchronizer(trainer.device)
        self._batches = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)

    def __call__(self) -> None:
        self._trainer.step(next(self._batches))
        self._synchronize()


def _trainer(job: Job, folder: Path) -> Trainer:
    """The job's trainer in its state at the end of training, at full resolution and without callbacks."""
    trainer = build_trainer(replace(job, directory=RunDirectory(folder), cfg=copy.deepcopy(job.cfg)))
    trainer.progress.images, trainer.progress.total_images = trainer.progress.total_images, UNLIMITED_IMAGES
    trainer.callbacks = trainer.callbacks.subset([], end=UNLIMITED_IMAGES)
    trainer.updater.grow_to(trainer.updater.growth.state_at(trainer.progress.images))
    return trainer


def _without_auto(job: Job) -> Job:
    """A copy of the job with the values that ``auto`` stands for on this machine."""
    cfg = copy.deepcopy(job.cfg)
    with tempfile.TemporaryDirectory() as scratch:
        settings = effective_settings(job, _trainer(job, Path(scratch)))
    cfg.discriminator_passes, cfg.memory_format = settings["discriminator_passes"], settings["memory_format"]
    return replace(job, cfg=cfg)


def _has_batch_dependent_layer(job: Job) -> bool:
    """Whether the discriminator's output for an image depends on the other images of the batch."""
    with tempfile.TemporaryDirectory() as scratch:
        discriminator = _trainer(job, Path(scratch)).updater.gan.discriminator
    return any(isinstance(module, BatchDependent) for module in discriminator.modules())


@contextmanager
def captured_warnings() -> Iterator[list[str]]:
    """Yield a list to which the warnings that the package logs in the block are appended."""
    messages: list[str] = []

    class Collector(logging.Handler):
        """Appends messages to the list."""

        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collector = logging.getLogger("gan_lab"), Collector(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
