"""The turns of both players, each alone on the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import SharedFakes
from gan_lab.iteration.phase import Phase
from gan_lab.losses.base import LossTerm
from gan_lab.training.trainer import Trainer

NAMES = {"d": "discriminator", "g": "generator"}
WITH = " with penalty"


@dataclass(frozen=True)
class PhaseTiming:
    """What a player does on a batch.

    Attributes:
        name: of the turn.
        phase: the player with the terms of this turn alone.
        times: how often it happens in a step of the loop.
    """

    name: str
    phase: Phase
    times: float

    @property
    def measured(self) -> str:
        """What is told of it: of a turn with penalties what they add."""
        return penalty_of(self.name.removesuffix(WITH)) if self.name.endswith(WITH) else self.name


def time_phases(trainer: Trainer, is_penalty: Callable[[LossTerm], bool]) -> list[PhaseTiming]:
    """Each player's turn, with and without penalties, and the updates of lazy terms.

    A penalty of every step shares an update with the player's loss: what it adds is the difference of two turns.
    """
    found: list[PhaseTiming] = []
    for phase in trainer.updater.phases:
        name, often = NAMES[phase.name], 1 / phase.update_interval
        found.append(PhaseTiming(name, phase.with_terms(lambda term: term.interval == 1 and not is_penalty(term)), often))
        if any(term.interval == 1 and is_penalty(term) for term in phase.terms.values()):
            found.append(PhaseTiming(f"{name}{WITH}", phase.with_terms(lambda term: term.interval == 1), often))
        for interval in phase.intervals[1:]:
            lazy = phase.with_terms(lambda term, interval=interval: term.interval == interval)  # type: ignore[misc]
            what = penalty_of(name) if all(map(is_penalty, lazy.terms.values())) else name
            found.append(PhaseTiming(f"{what}, every {interval}", lazy, often / interval))
    return found


def penalty_of(player: str) -> str:
    """How what penalties add is called: it is the discriminator they are laid on, as a rule."""
    return "penalty" if player == NAMES["d"] else f"penalty of the {player}"


def measure(
    found: Sequence[PhaseTiming], trainer: Trainer, batch: Batch, rounds: int, steps: int, settle: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of each turn, ``rounds`` times over ``steps`` of the loop's steps, in turn; of penalties what they add.

    Fakes go from turn to turn as in the loop: in the steps in which the generator moves too.
    """
    first = found[0].phase
    seconds: dict[str, list[float]] = {turn.name: [] for turn in found}

    def timed(turn: PhaseTiming, n: int) -> float:
        hands_over = trainer.updater.gan.reuse_fakes and all(phase.due(n) for phase in trainer.updater.phases)
        handed = SharedFakes() if hands_over and 1 in turn.phase.intervals else None
        if handed is not None and turn.phase.network is trainer.updater.gan.generator:
            first.step(trainer.updater.gan, batch, handed)
            settle()
        turn.phase.steps = 0  # lazy terms are due
        begun = time.perf_counter()
        turn.phase.step(trainer.updater.gan, batch, handed)
        settle()
        return time.perf_counter() - begun

    for _ in range(rounds):
        for turn in found:
            played = [n for n in range(steps) if turn.phase.due(n)]
            seconds[turn.name].append(sum(timed(turn, n) for n in played) / len(played))
    return {turn.measured: _added(seconds, turn) for turn in found}


def _added(seconds: dict[str, list[float]], turn: PhaseTiming) -> list[float]:
    """Seconds of a turn; of one with penalties those beyond the same turn without."""
    if not turn.name.endswith(WITH):
        return seconds[turn.name]
    return [max(0.0, a - b) for a, b in zip(seconds[turn.name], seconds[turn.name.removesuffix(WITH)], strict=True)]
