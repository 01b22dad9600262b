"""Time of each network's updates, and of the penalties in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import SharedFakes
from gan_lab.iteration.phase import Phase
from gan_lab.losses.base import LossTerm
from gan_lab.training.trainer import Trainer

NETWORKS = {"d": "discriminator", "g": "generator"}
WITH_PENALTY = " with penalty"


@dataclass(frozen=True)
class PhaseTiming:
    """A network's update with some of its loss terms.

    Attributes:
        name: the network, followed by what distinguishes this update from the network's others.
        phase: the network's phase with only these terms.
        times: number of these updates per training step.
    """

    name: str
    phase: Phase
    times: float

    @property
    def reported_name(self) -> str:
        """Name in the result: an update with penalties is reported as the time that the penalties add."""
        return penalty_name(self.name.removesuffix(WITH_PENALTY)) if self.name.endswith(WITH_PENALTY) else self.name


def split_phases(trainer: Trainer, is_penalty: Callable[[LossTerm], bool]) -> list[PhaseTiming]:
    """Each network's update without and with penalties, and its lazy regularization.

    A penalty that is computed in every step shares an update with the network's loss, so the time it adds is the difference of
    the two.
    """
    timings: list[PhaseTiming] = []
    for phase in trainer.updater.phases:
        name, times = NETWORKS[phase.name], 1 / phase.update_interval
        timings.append(PhaseTiming(name, phase.with_terms(lambda term: term.interval == 1 and not is_penalty(term)), times))
        if any(term.interval == 1 and is_penalty(term) for term in phase.terms.values()):
            timings.append(PhaseTiming(f"{name}{WITH_PENALTY}", phase.with_terms(lambda term: term.interval == 1), times))
        for interval in phase.intervals[1:]:
            lazy = phase.with_terms(lambda term, interval=interval: term.interval == interval)  # type: ignore[misc]
            lazy_name = penalty_name(name) if all(map(is_penalty, lazy.terms.values())) else name
            timings.append(PhaseTiming(f"{lazy_name}, every {interval}", lazy, times / interval))
    return timings


def penalty_name(network: str) -> str:
    """Name of the time that a network's penalties add; most are the discriminator's."""
    return "penalty" if network == NETWORKS["d"] else f"penalty of the {network}"


def measure_phases(
    timings: Sequence[PhaseTiming], trainer: Trainer, batch: Batch, rounds: int, steps: int, synchronize: Callable[[], object]
) -> dict[str, list[float]]:
    """Measure the updates alternately.

    With ``reuse_fakes`` the generator's update receives the discriminator's fakes, as in the training loop.

    Args:
        timings: the updates; the first is the discriminator's without penalties.
        trainer: the trainer that they belong to.
        batch: the batch that all are computed on.
        rounds: number of measurements.
        steps: training steps per measurement, of which an update takes part in those in which it is due.
        synchronize: called before the time is read.

    Returns:
        For each reported name the mean seconds of an update, or for penalties the seconds they add, once per round.
    """
    first = timings[0].phase
    seconds: dict[str, list[float]] = {timing.name: [] for timing in timings}

    def timed(timing: PhaseTiming, n: int) -> float:
        shares_fakes = trainer.updater.gan.reuse_fakes and all(phase.due(n) for phase in trainer.updater.phases)
        shared_fakes = SharedFakes() if shares_fakes and 1 in timing.phase.intervals else None
        if shared_fakes is not None and timing.phase.network is trainer.updater.gan.generator:
            first.step(trainer.updater.gan, trainer.updater.batch_of(first, batch), shared_fakes)
            synchronize()
        timing.phase.steps = 0  # lazy terms are due
        part = trainer.updater.batch_of(timing.phase, batch)
        start = time.perf_counter()
        timing.phase.step(trainer.updater.gan, part, shared_fakes)
        synchronize()
        return time.perf_counter() - start

    for _ in range(rounds):
        for timing in timings:
            due = [n for n in range(steps) if timing.phase.due(n)]
            seconds[timing.name].append(sum(timed(timing, n) for n in due) / len(due))
    return {timing.reported_name: _added_seconds(seconds, timing) for timing in timings}


def _added_seconds(seconds: dict[str, list[float]], timing: PhaseTiming) -> list[float]:
    """Seconds of an update; of one with penalties, those beyond the same update without."""
    if not timing.name.endswith(WITH_PENALTY):
        return seconds[timing.name]
    without = seconds[timing.name.removesuffix(WITH_PENALTY)]
    return [max(0.0, a - b) for a, b in zip(seconds[timing.name], without, strict=True)]
