"""One training iteration: updates each network that is due, then the average of the generator's weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.data.augmentation import Augmentations
from gan_lab.data.loader import Batch
from gan_lab.iteration.ema import ExponentialMovingAverage, NoEMA
from gan_lab.iteration.gan import GAN, SharedFakes
from gan_lab.iteration.growth import Growth, GrowthState
from gan_lab.iteration.metric_averager import MetricAverager
from gan_lab.iteration.phase import SKIPPED, Phase
from gan_lab.iteration.pretraining import Pretraining
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.runner import CompiledRunner, EagerRunner, GraphRecorder, GraphRunner, Runner
from gan_lab.iteration.schedule import Schedule
from gan_lab.iteration.scheduled_value import ScheduledValue
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.layers import Frozen
from gan_lab.storage.checkpoint import random_state, restore_random_state


class GANUpdater:
    """The networks and everything that changes them. The trainer calls :meth:`update` once per batch.

    Args:
        gan: the two networks.
        phases: the discriminator's, then the generator's.
        growth: resolution, fade-in and batch size as functions of the images seen.
        schedule: learning-rate factor as a function of the training's progress.
        ema: average of the generator's weights.
        pretraining: a first stage that trains the generator alone.
        averager: averages the metrics of iterations.
        scheduled: further values that change during training.

    Attributes:
        growth_state: the current state of the networks.
        lr_factor: further factor of all learning rates, below 1 after a roll-back.
        runner: executes iterations, eagerly by default.
    """

    def __init__(
        self,
        gan: GAN,
        phases: Sequence[Phase],
        growth: Growth,
        schedule: Schedule,
        ema: ExponentialMovingAverage | NoEMA,
        pretraining: Pretraining,
        averager: MetricAverager,
        scheduled: Sequence[ScheduledValue] = (),
    ) -> None:
        self.gan, self.phases, self.growth, self.schedule = gan, phases, growth, schedule
        self.ema, self.pretraining, self.averager, self.scheduled = ema, pretraining, averager, scheduled
        self.runner: Runner = CompiledRunner(self._save, gan.compiled.clear) if gan.compiled else EagerRunner()
        self.lr_factor = 1.0
        self._buffers = [*_running_buffers(gan.generator), *_running_buffers(gan.discriminator)]
        self.growth_state = growth.state_at(0)
        growth.apply(self.growth_state, self.networks)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Generator, discriminator, and the averaged generator."""
        return self.gan.generator, self.gan.discriminator, self.ema.network

    @property
    def all_phases(self) -> list[Phase]:
        """The phases of pretraining and of adversarial training."""
        return [*self.pretraining.phases, *self.phases]

    def phases_at(self, images: int) -> Sequence[Phase]:
        """The phases of the stage that the iteration after ``images`` images belongs to."""
        return self.pretraining.phases if self.pretraining.is_active(images) else self.phases

    def batch_of(self, phase: Phase, batch: Batch) -> Batch:
        """The part of a loader's batch that a phase is updated on: all of it, unless each phase has its own reals."""
        return batch if self.gan.reuse_reals else batch.halves()[phase.network is self.gan.generator]

    def update(self, batch: Batch, progress: TrainingProgress) -> None:
        """Perform one iteration on ``batch``, this process's rows of the batch, and advance ``progress``.

        Does not synchronize with the device. Values that change between iterations of the same kind are written into tensors
        first; the rest is a fixed sequence of operations, which a CUDA graph can replay.
        """
        due = [phase for phase in self.phases_at(progress.images) if phase.due(progress.iteration)]
        count = len(self.batch_of(self.phases[0], batch).real) * self.gan.processes.world_size
        self._set_progress(progress, due, count)
        kind = (self.growth_state.layers, *((phase.name, *phase.due_intervals) for phase in due))
        self.runner.run(kind, batch, lambda batch: self._iterate(batch, due))
        for phase in due:
            phase.advance()
        progress.advance(count)

    def _set_progress(self, progress: TrainingProgress, due: Sequence[Phase], count: int) -> None:
        """Set everything that is a function of the training's progress, for an iteration on ``count`` images."""
        fraction = self.pretraining.progress(progress.images, progress.total_images)
        self.grow_to(self.growth.state_at(progress.images))
        self.gan.augment.set_progress(fraction)
        for value in self.scheduled:
            value.set_progress(self.pretraining.images_after(progress.images))
        for phase in due:
            phase.set_lr_factor(self._lr_factor(fraction, self.growth_state))
        self.ema.set_progress(progress.images + count, count)

    def _lr_factor(self, fraction: float, growth: GrowthState) -> float:
        return self.schedule(fraction) * growth.lr_factor * self.lr_factor

    def schedule_at(self, progress: TrainingProgress) -> dict[str, float]:
        """What is a function of the completed fraction of the training, for the iteration after ``progress.images`` images.

        The learning rate of each phase of the present stage as ``d/learning_rate``, and the strength of each augmentation that
        fades out as ``augment.NAME``. Values of ``schedule.of`` keep their own length and are not among them.
        """
        fraction = self.pretraining.progress(progress.images, progress.total_images)
        factor = self._lr_factor(fraction, self.growth.state_at(progress.images))
        for value in self.scheduled:  # the learning rates that the factor multiplies
            value.set_progress(self.pretraining.images_after(progress.images))
        rates = {f"{phase.name}/learning_rate": phase.base_rate * factor for phase in self.phases_at(progress.images)}
        strengths = self.gan.augment.strengths_at(fraction) if isinstance(self.gan.augment, Augmentations) else {}
        return rates | {f"augment.{name}": strength for name, strength in strengths.items()}

    def _iterate(self, batch: Batch, due: Sequence[Phase]) -> None:
        """The operations of an iteration on the device."""
        generator = self.gan.generator
        alpha = generator.alpha_tensor if isinstance(generator, ProgressiveNetwork) else None
        batch = self.growth_state.match_resolution(batch, alpha)
        shared_fakes = SharedFakes() if self.gan.reuse_fakes and len(due) == len(self.phases) else None
        metrics: dict[str, Tensor] = {}
        before = [buffer.clone() for buffer in self._buffers]
        for phase in due:
            metrics |= phase.step(self.gan, self.batch_of(phase, batch), shared_fakes)
        is_finite = ~torch.stack([metrics[f"{phase.name}/{SKIPPED}"] for phase in due]).any()
        for buffer, value in zip(
            self._buffers, before, strict=True
        ):  # an overflow in a forward pass would stay in running statistics
            buffer.copy_(torch.where(is_finite, buffer, value))
        self.averager.add(metrics)
        self.ema.update()

    def capture(self, recorder: GraphRecorder) -> None:
        """Record each kind of iteration with ``recorder`` and replay it from then on."""
        self.runner = GraphRunner(recorder, self._abandon_iteration)

    def _save(self) -> Callable[[], None]:
        """Save the state that an iteration changes; returns a function that restores it."""
        gan, precision = self.gan, self.phases[0].precision
        state, totals = copy.deepcopy(self.state_dict()), copy.deepcopy(self.averager.state_dict())
        states = random_state(precision.device, gan.rng)

        def restore() -> None:
            self._abandon_iteration()
            self.load_state_dict(state)
            self.averager.load_state_dict(totals)
            restore_random_state(states, precision.device, gan.rng)

        return restore

    def _abandon_iteration(self) -> None:
        for phase in self.all_phases:
            phase.abandon_step()

    def grow_to(self, state: GrowthState) -> None:
        """Set all networks to ``state``. New layers start with a new optimizer state (Karras et al. 2018, appendix A.1)."""
        if state == self.growth_state:
            return
        self.growth.apply(state, self.networks)
        if state.layers != self.growth_state.layers:
            self.runner.reset()
            for phase in self.phases if self.growth.reset_optimizer else ():
                phase.reset_optimizer_state()
        self.growth_state = state

    def broadcast(self) -> None:
        """Copy the main process's weights to all processes, because a seed may give other weights on another machine."""
        for network in self.networks:
            buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
            self.gan.processes.broadcast_([*network.parameters(), *buffers])

    def all_reduce_buffers(self) -> None:
        """Average running statistics over the processes; each process has updated its own from its rows."""
        for network in self.networks:
            self.gan.processes.all_reduce_mean_(_running_buffers(network))

    def skipped_in_a_row(self) -> int:
        """How many of the latest updates of a network were skipped, one after the other: the larger number of both networks.

        Waits for the device.
        """
        return max(phase.skipped_in_a_row() for phase in self.all_phases)

    def has_finite_weights(self) -> bool:
        """Whether every weight of both networks is finite; synchronizes with the device."""
        weights = [p.detach() for network in (self.gan.generator, self.gan.discriminator) for p in network.parameters()]
        return bool(torch.stack(torch._foreach_norm(weights)).isfinite().all())

    def state_dict(self) -> dict[str, Any]:
        return {
            "growth": vars(self.growth_state),
            "lr_factor": self.lr_factor,
            "generator": self.gan.generator.state_dict(),
            "discriminator": self.gan.discriminator.state_dict(),
            "generator_ema": self.ema.state_dict(),
            "phases": {phase.name: phase.state_dict() for phase in self.all_phases},
            "labels": self.gan.labels.state_dict(),
            "augment": self.gan.augment.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.runner.reset()
        self.growth_state = GrowthState(**state["growth"])
        self.lr_factor = state.get("lr_factor", 1.0)  # older checkpoints have no such entry
        self.gan.generator.load_state_dict(state["generator"])
        self.gan.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["generator_ema"])
        for phase in self.all_phases:
            phase.load_state_dict(state["phases"][phase.name])
        self.gan.augment.load_state_dict(state["augment"])


def _running_buffers(network: nn.Module) -> list[Tensor]:
    """Running statistics and other floating-point buffers that training changes: those outside of frozen networks."""
    frozen = {id(buffer) for module in network.modules() if isinstance(module, Frozen) for buffer in module.buffers()}
    return [buffer for buffer in network.buffers() if buffer.is_floating_point() and id(buffer) not in frozen]
