"""Which choices make a step fastest here: for this model, on this machine."""

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
from rich.console import Console
from rich.table import Table

from gan_lab.benchmarks.bare_step import cycle
from gan_lab.benchmarks.step import choices_in_force, synchronize
from gan_lab.benchmarks.timing import interleaved
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.models.layers import BatchDependent
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer

WORTH = 1.03
"""Times faster that a choice must be in the median, and faster in every round, to be kept."""

FOR_EVER = 2**62


@dataclass(frozen=True)
class Choice:
    """A key and what it may be.

    Attributes:
        key: as it is typed.
        values: tried in this order.
        reaches: further keys of the resolved configuration that follow the first.
        recipe: whether it changes what is learnt, be it a little.
    """

    key: str
    values: tuple[Any, ...]
    reaches: tuple[str, ...] = ()
    recipe: bool = False

    def made(self, job: Job, value: Any) -> Job:
        """The job with this choice."""
        cfg = copy.deepcopy(job.cfg)
        for key in (self.key, *self.reaches):
            OmegaConf.update(cfg, key, value)
        return replace(job, cfg=cfg)


CHOICES = (
    Choice("memory_format", ("channels_last", "contiguous")),
    Choice("optimizer.fused", (False,), ("optimizer.generator.fused", "optimizer.discriminator.fused")),
    Choice("discriminator_passes", ("split", "joint")),
    Choice("reuse_fakes", (True, False), recipe=True),
    Choice("compile", ("generator", "both")),
)
"""``compile`` comes last, as the others change what there is to compile. An optimizer is made a fused one nowhere: where its
recipe is not, there is a reason."""


@dataclass
class Trial:
    """One choice against the best before it.

    Attributes:
        choice: as an override.
        faster: times as fast, in each round; empty where it could not be had.
        kept: whether it is the best from here on.
        note: what else is to be known of it.
        compile_seconds: that compiling took, apart from the steps.
    """

    choice: str
    faster: list[float]
    kept: bool = False
    note: str = ""
    compile_seconds: float | None = None

    def is_worth_it(self) -> bool:
        return bool(self.faster) and statistics.median(self.faster) > WORTH and min(self.faster) > 1


@dataclass
class TuneResult:
    """What was tried.

    Attributes:
        trials: in order.
        kept: the choices worth making, as overrides.
        path: of the file that holds them, one a line.
        given: the command line they are to be added to.
    """

    trials: list[Trial]
    kept: list[str]
    path: Path
    given: Sequence[str] = field(default_factory=tuple)

    def print(self) -> None:
        table = Table("tried", "times as fast", "lowest", "highest", "kept", "note")
        for trial in self.trials:
            numbers = [f(trial.faster) for f in (statistics.median, min, max)] if trial.faster else []
            told = [f"{n:.3f}" for n in numbers] or ["", "", ""]
            table.add_row(trial.choice, *told, "yes" if trial.kept else "", trial.note)
        console = Console(soft_wrap=True, highlight=False)
        console.print(table)
        words = " ".join(map(quote, self.given))
        if self.kept:
            console.print(f"{self.path}: {' '.join(self.kept)}")
            console.print(f"python -m gan_lab.train {words + ' ' if words else ''}$(cat {quote(str(self.path))})")
        else:
            console.print("nothing is faster than what is configured, by more than the noise")

    def to_dict(self) -> dict[str, Any]:
        return {"trials": [vars(trial) for trial in self.trials], "kept": self.kept}


def tune(job: Job, given: Sequence[str], recipe: bool, rounds: int, steps: int) -> TuneResult:
    """Try one choice at a time against the best so far, in turn, and keep what is faster by more than the noise.

    The overrides kept are written to ``tuned.txt`` of the job's directory.

    Args:
        job: the training.
        given: its command line.
        recipe: whether to try what changes what is learnt, too.
        rounds: comparisons of each choice.
        steps: training steps in a measurement.
    """
    best, trials, kept = _settled(job), list[Trial](), dict[str, Any]()
    for choice in CHOICES:
        changes = choice.recipe or (choice.key == "discriminator_passes" and _mixes_images(best))
        if changes and not recipe:
            continue
        for value in choice.values:
            if OmegaConf.select(best.cfg, choice.key) in (None, value):
                continue
            tried = choice.made(best, value)
            trial = _try(best, tried, _spell(choice.key, value), rounds, steps)
            trial.note = "; ".join(filter(None, ("changes what is learnt" if changes else "", trial.note)))
            trial.kept = trial.is_worth_it()
            trials.append(trial)
            if trial.kept:
                best, kept = tried, kept | {choice.key: value}
    path = job.directory.path / "tuned.txt"
    overrides = [_spell(key, value) for key, value in kept.items()]
    write_atomically(path, "".join(f"{line}\n" for line in overrides))
    return TuneResult(trials, overrides, path, given)


def _try(best: Job, tried: Job, told: str, rounds: int, steps: int) -> Trial:
    """``tried`` beside ``best``, in turn; whatever compiles does so in steps before."""
    with tempfile.TemporaryDirectory() as scratch, warnings_heard() as warnings:
        trainers = [_trainer(job, Path(scratch) / str(n)) for n, job in enumerate((best, tried))]
        loops = {name: _Loop(trainer) for name, trainer in zip("ab", trainers, strict=True)}
        steps = -(-steps // cycle(trainers[0])) * cycle(trainers[0])  # every turn of both in each measurement
        before = interleaved(loops, 1, steps)
        if fallen_back := [warning for warning in warnings if "continues without compiling" in warning]:
            return Trial(told, [], note=fallen_back[0])
        seconds = interleaved(loops, rounds, steps)
    trial = Trial(told, [a / b for a, b in zip(seconds["a"], seconds["b"], strict=True)])
    if tried.cfg.compile != best.cfg.compile:
        trial.compile_seconds = max(0.0, (before["b"][0] - statistics.median(seconds["b"])) * steps)
        trial.note = f"{trial.compile_seconds:.0f} s of compiling before"
    return trial


class _Loop:
    """Training steps without end, and without anything between."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._settle = trainer, synchronize(trainer.device)
        self._batches = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)

    def __call__(self) -> None:
        self._trainer.step(next(self._batches))
        self._settle()


def _trainer(job: Job, folder: Path) -> Trainer:
    """At the end of the training, as if it went on: a growing network is at its full size."""
    trainer = build_trainer(replace(job, directory=RunDirectory(folder), cfg=copy.deepcopy(job.cfg)))
    trainer.progress.images, trainer.progress.total_images = trainer.progress.total_images, FOR_EVER
    trainer.callbacks = trainer.callbacks.subset([], end=FOR_EVER)
    trainer.updater.grow_to(trainer.updater.growth.state_at(trainer.progress.images))
    return trainer


def _settled(job: Job) -> Job:
    """With what ``auto`` stands for here."""
    cfg = copy.deepcopy(job.cfg)
    with tempfile.TemporaryDirectory() as scratch:
        found = choices_in_force(job, _trainer(job, Path(scratch)))
    cfg.discriminator_passes, cfg.memory_format = found["discriminator_passes"], found["memory_format"]
    return replace(job, cfg=cfg)


def _mixes_images(job: Job) -> bool:
    """Whether the discriminator's word on an image depends on the others of its batch."""
    with tempfile.TemporaryDirectory() as scratch:
        discriminator = _trainer(job, Path(scratch)).updater.gan.discriminator
    return any(isinstance(module, BatchDependent) for module in discriminator.modules())


@contextmanager
def warnings_heard() -> Iterator[list[str]]:
    """The package's warnings, instead of on the console."""
    heard: list[str] = []

    class Listener(logging.Handler):
        """Keeps messages."""

        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logger, listener = logging.getLogger("gan_lab"), Listener(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield heard
    finally:
        logger.removeHandler(listener)


def _spell(key: str, value: Any) -> str:
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"
