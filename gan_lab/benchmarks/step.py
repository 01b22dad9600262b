"""Where the time of a training step goes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from gan_lab.benchmarks.timing import Action, Repeated, Result, in_turn
from gan_lab.build import build_trainer
from gan_lab.config import Job
from gan_lab.data.stream import Batch
from gan_lab.training.events import Events
from gan_lab.training.round import Round
from gan_lab.training.trainer import Trainer


class StepBenchmark(Repeated):
    """The parts of a step, the bare step and the whole loop."""

    def __call__(self, job: Job) -> Result:
        """``gan_lab.train``'s own objects do the work, logging and console included."""
        trainer = build_trainer(job)
        trainer.events = Events([(trainer.cadences.log, trainer.log_figures)], end=sys.maxsize)
        trainer.tracker.start(trainer.info)
        trainer.images, trainer.total_images = trainer.total_images, sys.maxsize  # grown, if it grows, and still at full rate
        trainer.enter(trainer.growth.at(trainer.images))
        endless = trainer.stream.batches()
        batch = next(endless)
        actions: dict[str, Action] = {
            "bare step": bare_step(trainer, batch),
            "whole loop": lambda: trainer.step(next(endless)),
            "data": lambda: next(endless),
            **{f"{phase.name} turn": lambda phase=phase: phase.step(trainer.game, batch) for phase in trainer.phases},  # type: ignore[misc]
            "average": lambda: trainer.average.update(trainer.stream.images_per_epoch, trainer.stream.batch_size),
        }
        with trainer.stopwatch.running():
            in_turn(actions, 1, self._warmup)
            seconds = in_turn(actions, self._rounds, self._steps, settle=settle(trainer.device))
        trainer.tracker.finish(trainer.summary("finished"))
        result = Result(seconds, unit=dict.fromkeys(("bare step", "whole loop", "data"), trainer.stream.batch_size))
        result.ratios["whole loop / bare step"] = result.ratio("whole loop", "bare step")
        result.ratios["data / bare step"] = result.ratio("data", "bare step")
        return result


def bare_step(trainer: Trainer, batch: Batch) -> Action:
    """What the mathematics needs: the networks, the loss, its gradient, the update, on a batch that is already there."""
    game, labels = trainer.game, trainer.game.labels.encode(batch.labels)

    def step() -> None:
        for phase in trainer.phases:
            phase.idle.requires_grad_(False)
            phase.player.requires_grad_(True)
            phase.optimizer.zero_grad(set_to_none=True)
            latents = game.latents.draw(len(batch.real), trainer.device)
            terms = [term for term in phase.terms.values() if term.every == 1]
            needs = frozenset().union(*(term.needs_gradient_of for term in terms))
            turn = phase.player is game.generator
            round = Round(game, batch.real, latents, labels, generator_turn=turn, needs_gradient_of=needs)
            with phase.precision.autocast():
                loss = torch.stack([term.weight * term(round) for term in terms]).sum()
            loss.backward()
            phase.optimizer.step()

    return step


def settle(device: torch.device) -> Callable[[], None]:
    """Wait until the device has done what it was told."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None
