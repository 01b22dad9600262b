"""The bare step: the computations of a training step without everything around them."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch.nn.utils import clip_grad_norm_

from gan_lab.benchmarks.timing import Action
from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import BatchNoise, SharedFakes
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.step_context import StepContext
from gan_lab.training.trainer import Trainer


def bare_step(trainer: Trainer, batch: Batch) -> Action:
    """A function that updates both networks on a fixed batch, without data loading, metrics, EMA and callbacks.

    It uses the trainer's networks, optimizers, loss terms and settings, but not its loop. The batch is never split into
    micro-batches, whatever ``gradient_accumulation_steps`` is.
    """
    gan, num_updates = trainer.updater.gan, Counter[str]()
    batch = trainer.updater.growth_state.match_resolution(batch)

    def update(phase: Phase, interval: int, shared_fakes: SharedFakes | None) -> None:
        terms = [term for term in phase.terms.values() if term.interval == interval]
        phase.optimizer.zero_grad(set_to_none=True)
        context = _step_context(trainer, phase, interval, trainer.updater.batch_of(phase, batch), shared_fakes)
        with phase.precision.autocast():
            loss = torch.stack([term.weight * term.interval * term(context) for term in terms]).sum()
        phase.scaler.scale(loss).backward()
        if phase.max_grad_norm is not None:
            phase.scaler.unscale_(phase.optimizer)
            clip_grad_norm_(phase.network.parameters(), phase.max_grad_norm)
        phase.scaler.step(phase.optimizer)
        phase.scaler.update()
        for term in phase.terms.values():
            term.after_step(phase.network)

    def step() -> None:
        due = [phase for phase in trainer.updater.phases if phase.due(num_updates["all"])]
        shared_fakes = SharedFakes() if gan.reuse_fakes and len(due) == len(trainer.updater.phases) else None
        for phase in due:
            phase.opponent.requires_grad_(shared_fakes is not None and phase.network is gan.discriminator)
            phase.network.requires_grad_(True)
            for interval in phase.intervals:
                if num_updates[phase.name] % interval == 0:
                    update(phase, interval, shared_fakes if interval == 1 else None)
            num_updates[phase.name] += 1
        num_updates["all"] += 1

    return step


def _step_context(trainer: Trainer, phase: Phase, interval: int, batch: Batch, shared_fakes: SharedFakes | None) -> StepContext:
    """What the loss terms of an update read, with the settings of the trainer."""
    gan = trainer.updater.gan
    is_generator = phase.network is gan.generator
    needs_gradient_of = frozenset().union(
        *(term.needs_gradient_of for term in phase.terms.values() if term.interval == interval)
    )
    if shared_fakes is not None and shared_fakes.latents is not None:
        latents = shared_fakes.latents
    else:
        latents = BatchNoise(gan, len(batch.real), trainer.device).generator_inputs(batch, slice(None), slice(None))
    return StepContext(
        gan,
        batch.real,
        latents,
        gan.labels.encode(batch.labels),
        generator_step=is_generator,
        needs_gradient_of=needs_gradient_of,
        scale=phase.scaler.scale(torch.ones((), device=trainer.device)) if phase.scaler.is_enabled() else None,
        joint_pass=gan.joint_pass and not (is_generator or needs_gradient_of or interval > 1),
        shared_fakes=shared_fakes,
    )


def steps_per_cycle(trainer: Trainer) -> int:
    """Number of steps after which the sequence of updates repeats: with ``n_critic=2`` and R1 every 16 steps, 32."""
    return math.lcm(*(phase.update_interval * interval for phase in trainer.updater.phases for interval in phase.intervals))
