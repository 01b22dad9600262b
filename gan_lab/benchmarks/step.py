"""Where the time of a training goes, and how long the same takes without us and by the book."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from gan_lab.benchmarks.timing import Action, Repeated, Result, in_turn
from gan_lab.benchmarks.tutorial import Tutorial, tutorial
from gan_lab.build import build_trainer
from gan_lab.config import Job
from gan_lab.data.stream import Batch
from gan_lab.directory import RunDirectory
from gan_lab.terms import penalties
from gan_lab.terms.base import Term
from gan_lab.training.events import Cadence, Events
from gan_lab.training.phase import Phase
from gan_lab.training.round import Handed, Round
from gan_lab.training.stopwatch import peak_memory
from gan_lab.training.trainer import Trainer

BARE, LOOP, BOOK = "bare step", "whole loop", "tutorial loop"
WITH = " with penalty"
NAMES = {"d": "discriminator", "g": "generator"}


@dataclass
class StepResult(Result):
    """Measurements with the share each phase has of the configured run.

    Attributes:
        times: how often each phase happens in a step of the run.
        facts: the choices in force, and what is predicted.
    """

    times: dict[str, float] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def per_step(self, name: str) -> float:
        """Seconds of a phase in a step, on average over the run."""
        return self.median(name) * self.times[name]

    def share(self, name: str) -> float:
        """Of the run, in [0, 1]."""
        return self.per_step(name) / sum(map(self.per_step, self.times))

    def print(self) -> None:
        table = Table("phase", "median ms", "lowest", "highest", "ms in a step", "share")
        for column in table.columns[1:]:
            column.justify = "right"
        for name in self.times:
            numbers = (self.median(name), min(self.seconds[name]), max(self.seconds[name]), self.per_step(name))
            table.add_row(name, *(f"{1000 * number:,.2f}" for number in numbers), f"{self.share(name):.1%}")
        console = Console(soft_wrap=True, highlight=False)
        console.print(table)
        whole = Result({k: v for k, v in self.seconds.items() if k not in self.times}, self.unit, self.ratios)
        whole.print()
        for name, fact in self.facts.items():
            console.print(f"{name}: {fact}")

    def to_dict(self) -> dict[str, Any]:
        phases = {
            name: {
                "times_a_step": self.times[name],
                "milliseconds_a_step": 1000 * self.per_step(name),
                "share": self.share(name),
            }
            for name in self.times
        }
        return {**super().to_dict(), "phases": phases, "facts": self.facts}


class StepBenchmark(Repeated):
    """The phases of a training, its loop as a whole, and beside it the bare step and the tutorial's loop.

    Args:
        rounds, steps, warmup: see :class:`Repeated`.
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
            begin(trainer)
            book = self._book(job, trainer, folder, stack)
            with trainer.stopwatch.running():
                seconds = self._whole(job, trainer, book)
                seconds |= self._phases(trainer)
            trainer.tracker.finish(trainer.summary("finished"))
        return self._result(job, trainer, seconds)

    def _book(self, job: Job, trainer: Trainer, folder: Path, stack: ExitStack) -> Tutorial | None:
        """On the CPU, where the question is what threads do; the tutorial's networks know no labels."""
        if not self._tutorial or job.cfg.conditioning.labels or trainer.device.type != "cpu":
            return None
        return stack.enter_context(tutorial(build_trainer(job).game, trainer.stream.data, trainer.stage.batch_size, folder))

    def _whole(self, job: Job, trainer: Trainer, book: Tutorial | None) -> dict[str, list[float]]:
        """The loop and what it is held against, in rounds as short as can be: noise then hits all."""
        endless = trainer.stream.batches(0, lambda images: trainer.stage.batch_size)
        steps = -(-self._steps // job.cfg.n_critic) * job.cfg.n_critic  # whole turns of both players
        actions = {BARE: bare_step(trainer, next(endless)), LOOP: lambda: trainer.step(next(endless))}
        in_turn(actions, 1, self._warmup * job.cfg.n_critic, settle(trainer.device))
        seconds: dict[str, list[float]] = {name: [] for name in actions}
        if book is not None:
            book.steps(self._warmup)
            seconds[BOOK] = []
        for _ in range(self._rounds):
            for name, values in in_turn(actions, 1, steps, settle(trainer.device)).items():
                seconds[name] += values
            if book is not None:
                seconds[BOOK].append(book.steps(steps) / steps)
        return seconds

    def _phases(self, trainer: Trainer) -> dict[str, list[float]]:
        endless = trainer.stream.batches(0, lambda images: trainer.stage.batch_size)
        batch = trainer.stage.show(next(endless))
        often: dict[str, Action] = {
            "data": lambda: next(endless),
            "average": lambda: trainer.average.update(trainer.stream.images_per_epoch, trainer.stage.batch_size),
            **{name: partial(_play, turn, trainer, batch) for name, turn, _ in turns(trainer)},
        }
        seconds = in_turn(often, self._rounds, self._steps, settle(trainer.device))
        if trainer.game.reuses_fakes:
            seconds |= self._turns_with_the_same_fakes(trainer, batch)
        for name in [name for name in seconds if name.endswith(WITH)]:
            pairs = zip(seconds.pop(name), seconds[name.removesuffix(WITH)], strict=True)
            seconds[f"penalty of the {name.removesuffix(WITH)}"] = [max(0.0, both - alone) for both, alone in pairs]
        return seconds | in_turn({n: a for n, (_, a) in trainer.actions.items()}, self._rounds, 1, settle(trainer.device))

    def _turns_with_the_same_fakes(self, trainer: Trainer, batch: Batch) -> dict[str, list[float]]:
        """The players' turns one after the other, as the second needs what the first hands on."""
        found = turns(trainer)
        players = [(name, turn) for name, turn, _ in found if name in NAMES.values() or name.endswith(WITH)]
        seconds: dict[str, list[float]] = {name: [] for name, _ in players}
        generator = next(turn for name, turn in players if name == NAMES["g"])
        for _ in range(self._rounds):
            for name, turn in players:
                spent = 0.0
                for _ in range(self._steps):
                    handed = Handed()
                    if turn is generator:
                        players[0][1].step(trainer.game, batch, handed)
                        settle(trainer.device)()
                    begun = time.perf_counter()
                    turn.step(trainer.game, batch, handed)
                    settle(trainer.device)()
                    spent += time.perf_counter() - begun
                seconds[name].append(spent / self._steps)
        return seconds

    def _result(self, job: Job, trainer: Trainer, seconds: dict[str, list[float]]) -> StepResult:
        size = trainer.stage.batch_size
        end = trainer.info.total_images
        steps = -(-end // size)
        often = {name: every for name, _, every in turns(trainer)}
        named = {f"penalty of the {n.removesuffix(WITH)}" if n.endswith(WITH) else n: every for n, every in often.items()}
        times = {"data": 1.0, **named, "average": 1.0}
        times |= {name: happenings(cadence, end, size) / steps for name, (cadence, _) in trainer.actions.items()}
        result = StepResult(seconds, dict.fromkeys((BARE, LOOP, BOOK), size), times=times)
        result.ratios[f"{LOOP} / {BARE}"] = result.ratio(LOOP, BARE)
        if BOOK in seconds:
            result.ratios[f"images/s of the {LOOP} / of the {BOOK}"] = result.ratio(BOOK, LOOP)
        total = sum(map(result.per_step, times)) * steps
        result.facts = {
            "seconds per kimg": f"{1000 * result.median(LOOP) / size:.3g} training, {total / end * 1000:.3g} with all",
            "the run as configured": f"{clock(total)} for {end / 1000:g} kimg, {clock(result.median(LOOP) * steps)} training",
            "peak memory": f"{peak_memory(trainer.device):,.0f} MiB",
            "arithmetic": trainer.info.facts["arithmetic"],
            "precision": str(job.choices.get("precision", job.cfg.precision)),
            "machine": f"{trainer.info.facts['training'].rpartition(' on ')[2]}, torch {torch.__version__}",
        }
        return result


def begin(trainer: Trainer) -> None:
    """As if the training had come to its end and went on for ever: grown, if it grows, at full rate, logging as configured."""
    trainer.events = Events([trainer.actions["logging"]], end=sys.maxsize)
    trainer.scores.prepare(trainer.device, lambda done, total: None)
    trainer.tracker.start(trainer.info)
    trainer.images, trainer.total_images = trainer.total_images, sys.maxsize
    trainer.enter(trainer.growth.at(trainer.images))


def bare_step(trainer: Trainer, batch: Batch) -> Action:
    """What the mathematics needs: the networks, the loss, its gradient, the update, on a batch that is already there."""
    game, numbers = trainer.game, itertools.count()
    batch = trainer.stage.show(batch)
    labels = game.labels.encode(batch.labels)

    def update(phase: Phase, terms: Sequence[Term], handed: Handed | None) -> None:
        phase.optimizer.zero_grad(set_to_none=True)
        round = round_of(trainer, phase, terms, batch, labels, handed)
        with phase.precision.autocast():
            loss = torch.stack([term.weight * term.every * term(round) for term in terms]).sum()
        loss.backward()
        phase.optimizer.step()

    def step() -> None:
        n = next(numbers)
        due = [phase for phase in trainer.phases if phase.due(n)]
        handed = Handed() if game.reuses_fakes and len(due) == len(trainer.phases) else None
        for phase in due:
            phase.idle.requires_grad_(handed is not None and phase.player is game.discriminator)
            phase.player.requires_grad_(True)
            for interval in phase.intervals:
                if n % interval == 0:
                    terms = [term for term in phase.terms.values() if term.every == interval]
                    update(phase, terms, handed if interval == 1 else None)

    return step


def round_of(
    trainer: Trainer, phase: Phase, terms: Sequence[Term], batch: Batch, labels: torch.Tensor | None, handed: Handed | None
) -> Round:
    """The round of an update, with the choices of the game."""
    game, turn = trainer.game, phase.player is trainer.game.generator
    needs = frozenset().union(*(term.needs_gradient_of for term in terms))
    if handed is not None and handed.latents is not None:
        latents = handed.latents
    else:
        latents = game.latents.draw(len(batch.real), trainer.device, game.random)
    joint = game.joint_passes and not (turn or needs or terms[0].every > 1)
    return Round(game, batch.real, latents, labels, generator_turn=turn, needs_gradient_of=needs, joint=joint, handed=handed)


def turns(trainer: Trainer) -> list[tuple[str, Phase, float]]:
    """Each player's turn, with and without penalties, and the updates of lazy terms; and how often they happen in a step.

    A penalty of every step shares an update with the player's loss: what it adds is the difference of two turns.
    """
    found: list[tuple[str, Phase, float]] = []
    for phase in trainer.phases:
        name = NAMES[phase.name]
        found.append((name, phase.with_terms(lambda term: term.every == 1 and not is_penalty(term)), 1 / phase.every))
        if any(term.every == 1 and is_penalty(term) for term in phase.terms.values()):
            found.append((f"{name}{WITH}", phase.with_terms(lambda term: term.every == 1), 1 / phase.every))
        for interval in phase.intervals[1:]:
            lazy = phase.with_terms(lambda term, interval=interval: term.every == interval)  # type: ignore[misc]
            found.append((f"{name}, lazy by {interval}", lazy, 1 / phase.every / interval))
    return found


def _play(turn: Phase, trainer: Trainer, batch: Batch) -> None:
    turn.steps = 0  # lazy terms are due
    turn.step(trainer.game, batch)


def is_penalty(term: Term) -> bool:
    """Whether it is no part of the game itself."""
    return type(term).__module__ == penalties.__name__


def happenings(cadence: Cadence, end: int, batch_size: int) -> int:
    """How often something happens in a training of ``end`` images: at its end in any case."""
    return sum(
        images >= end or cadence.between(images - batch_size, images)
        for images in range(batch_size, end + batch_size, batch_size)
    )


def clock(seconds: float) -> str:
    """h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def settle(device: torch.device) -> Callable[[], None]:
    """Wait until the device has done what it was told."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None
