"""The bare step: what the mathematics of a training step needs, and nothing else."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from gan_lab.benchmarks.timing import Action
from gan_lab.data.loader import Batch
from gan_lab.training.loss_context import Draws, Handed, Round
from gan_lab.training.phase import Phase
from gan_lab.training.trainer import Trainer


def bare_step(trainer: Trainer, batch: Batch) -> Action:
    """Both players' updates on a batch that is already there: no data, no figures, no average, nothing that happens between.

    Networks, optimizers, terms and the choices of arithmetic are the trainer's own, the loop around them is not. A batch is
    taken whole, however many parts ``accumulate`` splits it into.
    """
    game, moved = trainer.game, Counter[str]()
    batch = trainer.stage.show(batch)
    labels = game.labels.encode(batch.labels)

    def update(phase: Phase, interval: int, handed: Handed | None) -> None:
        terms = [term for term in phase.terms.values() if term.every == interval]
        phase.optimizer.zero_grad(set_to_none=True)
        round = round_of(trainer, phase, interval, batch, labels, handed)
        with phase.precision.autocast():
            loss = torch.stack([term.weight * term.every * term(round) for term in terms]).sum()
        phase.scaler.scale(loss).backward()
        if phase.gradient_clip is not None:
            phase.scaler.unscale_(phase.optimizer)
            clip_grad_norm_(phase.player.parameters(), phase.gradient_clip)
        phase.scaler.step(phase.optimizer)
        phase.scaler.update()
        for term in phase.terms.values():
            term.after_step(phase.player)

    def step() -> None:
        due = [phase for phase in trainer.phases if phase.due(moved["all"])]
        handed = Handed() if game.reuses_fakes and len(due) == len(trainer.phases) else None
        for phase in due:
            phase.idle.requires_grad_(handed is not None and phase.player is game.discriminator)
            phase.player.requires_grad_(True)
            for interval in phase.intervals:
                if moved[phase.name] % interval == 0:
                    update(phase, interval, handed if interval == 1 else None)
            moved[phase.name] += 1
        moved["all"] += 1

    return step


def round_of(
    trainer: Trainer, phase: Phase, interval: int, batch: Batch, labels: Tensor | None, handed: Handed | None
) -> Round:
    """The round of an update, with the choices of the game: all that the bare step knows of how a batch is shown to terms."""
    game, turn = trainer.game, phase.player is trainer.game.generator
    needs = frozenset().union(*(term.needs_gradient_of for term in phase.terms.values() if term.every == interval))
    if handed is not None and handed.latents is not None:
        latents = handed.latents
    else:
        latents = Draws(game, len(batch.real), trainer.device).inputs(batch, slice(None), slice(None))
    return Round(
        game,
        batch.real,
        latents,
        labels,
        generator_turn=turn,
        needs_gradient_of=needs,
        scale=phase.scaler.scale(torch.ones((), device=trainer.device)) if phase.scaler.is_enabled() else None,
        joint=game.joint_passes and not (turn or needs or interval > 1),
        handed=handed,
    )


def cycle(trainer: Trainer) -> int:
    """Steps after which both players, and every lazy term of theirs, have had their turns and all begins again."""
    return math.lcm(*(phase.every * interval for phase in trainer.phases for interval in phase.intervals))
