"""Which choices make a step fastest here: for this model, on this machine."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from gan_lab.arithmetic import MEMORY_FORMATS, memory_format
from gan_lab.benchmarks.step import LOOP, settle
from gan_lab.benchmarks.timing import Action, in_turn
from gan_lab.build import build_trainer
from gan_lab.config import Job
from gan_lab.directory import RunDirectory, write_atomically
from gan_lab.models.layers import MixesImages

SPEED: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("memory_format", ("channels_last", "contiguous")),
    ("optimizer.fused", (False,)),
    ("passes", ("separate", "joint")),
    ("compile", ("generator", "both")),
)
"""What leaves the mathematics as it is, but for rounding; ``passes`` where no layer mixes images. Fused optimizers are left to
those who know theirs: none is tried where the recipe has none."""

RECIPE: tuple[tuple[str, tuple[Any, ...]], ...] = (("reuse_fakes", (True, False)), ("passes", ("separate", "joint")))
"""What changes what is learnt, a little."""

WORTH = 1.03
"""Times faster that a choice must be, and in every round faster, to be kept."""


@dataclass
class Trial:
    """One choice against the best before it."""

    choice: str
    faster: list[float]
    kept: bool

    @property
    def median(self) -> float:
        return sorted(self.faster)[len(self.faster) // 2]


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
        table = Table("tried", "times as fast", "lowest", "highest", "kept")
        for trial in self.trials:
            numbers = (trial.median, min(trial.faster), max(trial.faster))
            table.add_row(trial.choice, *(f"{n:.3f}" for n in numbers), "yes" if trial.kept else "")
        console = Console(soft_wrap=True, highlight=False)
        console.print(table)
        write_atomically(self.path, "".join(f"{line}\n" for line in self.kept))
        words = " ".join(map(quote, self.given))
        if self.kept:
            console.print(f"python -m gan_lab.train {words + ' ' if words else ''}$(cat {quote(str(self.path))})")
        else:
            console.print("nothing is faster than what is configured, by more than the noise")

    def to_dict(self) -> dict[str, Any]:
        return {"trials": [vars(trial) for trial in self.trials], "kept": self.kept}


def tune(job: Job, recipe: bool, rounds: int = 5, steps: int = 10) -> TuneResult:
    """Try one choice at a time against the best so far, in turn, and keep what is faster by more than the noise.

    Args:
        job: the training.
        recipe: whether to try what changes the mathematics, too.
        rounds: comparisons of each choice.
        steps: training steps in a measurement.
    """
    best, trials, kept = _resolved(job), list[Trial](), dict[str, Any]()
    for key, values in (*SPEED, *(RECIPE if recipe else ())):
        for value in values:
            if OmegaConf.select(best.cfg, key) in (None, value) or not _may(best, key, recipe):
                continue
            cfg = copy.deepcopy(best.cfg)
            OmegaConf.update(cfg, key, value)
            tried = replace(best, cfg=cfg)
            faster = _faster(best, tried, rounds, steps)
            keep = sorted(faster)[len(faster) // 2] > WORTH and min(faster) > 1
            trials.append(Trial(_spell(key, value), faster, keep))
            if keep:
                best, kept = tried, kept | {key: value}
    given = [o for o in (*_choices(job), *job.overrides) if not o.startswith(("kind", "tune"))]
    path = job.directory.path / "tuned.txt"
    return TuneResult(trials, [_spell(key, value) for key, value in kept.items()], path, given)


def _faster(best: Job, tried: Job, rounds: int, steps: int) -> list[float]:
    """Times that ``tried`` is as fast as ``best``, in each round."""
    with tempfile.TemporaryDirectory() as scratch:
        loops = {name: _loop(job, Path(scratch) / name) for name, job in (("best", best), (LOOP, tried))}
        in_turn(loops, 1, steps)  # compiles, if that is the question
        seconds = in_turn(loops, rounds, steps)
    return [a / b for a, b in zip(seconds["best"], seconds[LOOP], strict=True)]


def _loop(job: Job, folder: Path) -> Action:
    trainer = build_trainer(replace(job, directory=RunDirectory(folder), cfg=copy.deepcopy(job.cfg)))
    trainer.images, trainer.total_images = trainer.total_images, 2**62
    trainer.events.due = lambda before, after: []  # type: ignore[method-assign]
    trainer.enter(trainer.growth.at(trainer.images))
    endless = trainer.stream.batches(0, lambda images: trainer.stage.batch_size)
    wait = settle(trainer.device)

    def step() -> None:
        trainer.step(next(endless))
        wait()

    return step


def _resolved(job: Job) -> Job:
    """With what ``auto`` stands for here."""
    cfg = copy.deepcopy(job.cfg)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = build_trainer(replace(job, directory=RunDirectory(Path(scratch)), cfg=copy.deepcopy(cfg)))
    cfg.passes = "joint" if trainer.game.joint_passes else "separate"
    layout = memory_format(cfg, trainer.phases[0].precision)
    cfg.memory_format = next(name for name, chosen in MEMORY_FORMATS.items() if chosen is layout)
    return replace(job, cfg=cfg)


def _may(job: Job, key: str, recipe: bool) -> bool:
    """Whether a choice is no more than a matter of speed here, or anything may be tried."""
    if key != "passes" or recipe:
        return True
    with tempfile.TemporaryDirectory() as scratch:
        game = build_trainer(replace(job, directory=RunDirectory(Path(scratch)), cfg=copy.deepcopy(job.cfg))).game
    return not any(isinstance(module, MixesImages) for module in game.discriminator.modules())


def _choices(job: Job) -> list[str]:
    spelt = {group: _spell(group, option) for group, option in job.choices.items() if option is not None}
    return [spelt[group] for group in spelt if group not in ("kind",)]


def _spell(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{key}=[{','.join(map(str, value))}]"
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"
