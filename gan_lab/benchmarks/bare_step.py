"""The bare step: what the mathematics of a training step needs, and nothing else."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from gan_lab.benchmarks.timing import Action
from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import BatchNoise, SharedFakes
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.step_context import StepContext
from gan_lab.training.trainer import Trainer


def bare_step(trainer: Trainer, batch: Batch) -> Action:
    """Both players' updates on a batch that is already there: no data, no figures, no average, nothing that happens between.

    Networks, optimizers, terms and the choices of arithmetic are the trainer's own, the loop around them is not. A batch is
    taken whole, however many parts ``gradient_accumulation_steps`` splits it into.
    """
    game, moved = trainer.updater.gan, Counter[str]()
    batch = trainer.updater.growth_state.match_resolution(batch)
    labels = game.labels.encode(batch.labels)

    def update(phase: Phase, interval: int, handed: SharedFakes | None) -> None:
        terms = [term for term in phase.terms.values() if term.interval == interval]
        phase.optimizer.zero_grad(set_to_none=True)
        round = round_of(trainer, phase, interval, batch, labels, handed)
        with phase.precision.autocast():
            loss = torch.stack([term.weight * term.interval * term(round) for term in terms]).sum()
        phase.scaler.scale(loss).backward()
        if phase.max_grad_norm is not None:
            phase.scaler.unscale_(phase.optimizer)
            clip_grad_norm_(phase.network.parameters(), phase.max_grad_norm)
        phase.scaler.step(phase.optimizer)
        phase.scaler.update()
        for term in phase.terms.values():
            term.after_step(phase.network)

    def step() -> None:
        due = [phase for phase in trainer.updater.phases if phase.due(moved["all"])]
        handed = SharedFakes() if game.reuse_fakes and len(due) == len(trainer.updater.phases) else None
        for phase in due:
            phase.opponent.requires_grad_(handed is not None and phase.network is game.discriminator)
            phase.network.requires_grad_(True)
            for interval in phase.intervals:
                if moved[phase.name] % interval == 0:
                    update(phase, interval, handed if interval == 1 else None)
            moved[phase.name] += 1
        moved["all"] += 1

    return step


def round_of(
    trainer: Trainer, phase: Phase, interval: int, batch: Batch, labels: Tensor | None, handed: SharedFakes | None
) -> StepContext:
    """The round of an update, with the choices of the game: all that the bare step knows of how a batch is shown to terms."""
    game, turn = trainer.updater.gan, phase.network is trainer.updater.gan.generator
    needs = frozenset().union(*(term.needs_gradient_of for term in phase.terms.values() if term.interval == interval))
    if handed is not None and handed.latents is not None:
        latents = handed.latents
    else:
        latents = BatchNoise(game, len(batch.real), trainer.device).generator_inputs(batch, slice(None), slice(None))
    return StepContext(
        game,
        batch.real,
        latents,
        labels,
        generator_step=turn,
        needs_gradient_of=needs,
        scale=phase.scaler.scale(torch.ones((), device=trainer.device)) if phase.scaler.is_enabled() else None,
        joint_pass=game.joint_pass and not (turn or needs or interval > 1),
        shared_fakes=handed,
    )


def cycle(trainer: Trainer) -> int:
    """Steps after which both players, and every lazy term of theirs, have had their turns and all begins again."""
    return math.lcm(*(phase.update_interval * interval for phase in trainer.updater.phases for interval in phase.intervals))
