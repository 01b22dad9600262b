"""One training iteration: the networks grow, each network that is due is updated, the weight average follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.data.loader import Batch
from gan_lab.iteration.ema import ExponentialMovingAverage, NoEMA
from gan_lab.iteration.gan import GAN, SharedFakes
from gan_lab.iteration.growth import Growth, GrowthState
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.pretraining import Pretraining
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.schedule import Schedule


class GANUpdater:
    """The networks and everything that changes them; the trainer calls :meth:`update` once for each batch.

    Args:
        gan: the two networks.
        phases: the discriminator's, then the generator's.
        growth: resolution, fade-in and batch size as functions of the images seen.
        schedule: learning-rate factor as a function of the training's progress.
        ema: average of the generator's weights.
        pretraining: a first stage that trains the generator alone.

    Attributes:
        growth_state: what the networks are set to.
    """

    def __init__(
        self,
        gan: GAN,
        phases: Sequence[Phase],
        growth: Growth,
        schedule: Schedule,
        ema: ExponentialMovingAverage | NoEMA,
        pretraining: Pretraining,
    ) -> None:
        self.gan, self.phases, self.growth, self.schedule = gan, phases, growth, schedule
        self.ema, self.pretraining = ema, pretraining
        self.growth_state = growth.state_at(0)
        growth.apply(self.growth_state, self.networks)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Generator, discriminator, and the averaged generator."""
        return self.gan.generator, self.gan.discriminator, self.ema.network

    @property
    def all_phases(self) -> list[Phase]:
        """Those of pretraining and those of adversarial training."""
        return [*self.pretraining.phases, *self.phases]

    def phases_at(self, images: int) -> Sequence[Phase]:
        """The phases of the stage that the iteration after ``images`` images belongs to."""
        return self.pretraining.phases if self.pretraining.is_active(images) else self.phases

    def update(self, batch: Batch, progress: TrainingProgress) -> dict[str, Tensor]:
        """One iteration on ``batch``, of which each process has its own rows; advances ``progress``.

        Returns:
            Metrics by name, as tensors on the device.
        """
        fraction = self.pretraining.progress(progress.images, progress.total_images)
        batch = self.grow_to(self.growth.state_at(progress.images)).match_resolution(batch)
        self.gan.augment.set_progress(fraction)
        due = [phase for phase in self.phases_at(progress.images) if phase.due(progress.iteration)]
        shared_fakes = SharedFakes() if self.gan.reuse_fakes and len(due) == len(self.phases) else None
        metrics: dict[str, Tensor] = {}
        for phase in due:
            phase.set_lr_factor(self.schedule(fraction) * self.growth_state.lr_factor)
            metrics |= phase.step(self.gan, batch, shared_fakes)
        count = len(batch.real) * self.gan.processes.world_size
        progress.advance(count)
        self.ema.update(progress.images, count)
        return metrics

    def grow_to(self, state: GrowthState) -> GrowthState:
        """Set all networks to ``state``. New layers come with a fresh optimizer state (Karras et al. 2018, appendix A.1)."""
        if state == self.growth_state:
            return state
        self.growth.apply(state, self.networks)
        if self.growth.reset_optimizer and state.layers != self.growth_state.layers:
            for phase in self.phases:
                phase.reset_optimizer_state()
        self.growth_state = state
        return state

    def broadcast(self) -> None:
        """Give all processes the main process's weights: a seed need not give the same ones on another machine."""
        for network in self.networks:
            buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
            self.gan.processes.broadcast_([*network.parameters(), *buffers])

    def all_reduce_buffers(self) -> None:
        """Average running statistics over the processes; each updates its own from its rows of the batches."""
        for network in self.networks:
            self.gan.processes.all_reduce_mean_([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def has_finite_weights(self) -> bool:
        """Whether every weight of both networks is finite; waits for the device."""
        weights = [p.detach() for network in (self.gan.generator, self.gan.discriminator) for p in network.parameters()]
        return bool(torch.stack(torch._foreach_norm(weights)).isfinite().all())

    def state_dict(self) -> dict[str, Any]:
        return {
            "growth": vars(self.growth_state),
            "generator": self.gan.generator.state_dict(),
            "discriminator": self.gan.discriminator.state_dict(),
            "generator_ema": self.ema.state_dict(),
            "phases": {phase.name: phase.state_dict() for phase in self.all_phases},
            "labels": self.gan.labels.state_dict(),
            "augment": self.gan.augment.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.growth_state = GrowthState(**state["growth"])
        self.gan.generator.load_state_dict(state["generator"])
        self.gan.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["generator_ema"])
        for phase in self.all_phases:
            phase.load_state_dict(state["phases"][phase.name])
        self.gan.augment.load_state_dict(state["augment"])
