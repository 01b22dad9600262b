"""Passes the discriminator's outputs on real images to adaptive augmentation, which adjusts its probability to them."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.iteration.accuracy import Accuracy
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.step_context import StepContext


class AugmentFeedback:
    """A metric hook of the discriminator's phase.

    Args:
        gan: its augmentation receives the outputs.
        accuracy: provides the decision threshold, which is subtracted from the logits.
        num_micro_batches: micro-batches per batch; the augmentation receives outputs of whole batches.
        gather: whether to gather the outputs of all processes.
    """

    def __init__(self, gan: GAN, accuracy: Accuracy, num_micro_batches: int, gather: bool) -> None:
        self._gan, self._accuracy = gan, accuracy
        self._num_micro_batches, self._gather = num_micro_batches, gather
        self._parts: list[Tensor] = []

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        if context.micro_batch == 0:
            self._parts.clear()
        self._parts.append(context.real_logits - self._accuracy.decision_threshold)
        if context.micro_batch < self._num_micro_batches - 1:
            return {}
        logits = torch.cat(self._parts)
        return self._gan.augment.observe(self._gan.processes.all_gather(logits) if self._gather else logits)
