"""Accuracy of the discriminator and fool rate of the generator, defined for every loss."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from gan_lab.losses.adversarial import DiscriminatorLoss
from gan_lab.losses.base import LossContext, LossTerm
from gan_lab.models.base import DiscriminatorOutput


class Accuracy:
    """Classifies images by the decision threshold of the discriminator's adversarial loss.

    A critic's threshold depends on the batch; the generator's fool rate uses that of the latest discriminator step.

    Args:
        terms: the discriminator's loss terms.

    Attributes:
        decision_threshold: the latest threshold; images with a larger logit count as classified real.

    Raises:
        ValueError: no term is an adversarial loss of the discriminator.
    """

    def __init__(self, terms: Iterable[LossTerm]) -> None:
        loss = next((term for term in terms if isinstance(term, DiscriminatorLoss)), None)
        if loss is None:
            raise ValueError("loss.discriminator: one of its terms must be an adversarial loss of the discriminator")
        self._loss = loss
        self.decision_threshold: Tensor | float = 0.0

    def discriminator_metrics(self, context: LossContext) -> dict[str, Tensor]:
        """Fractions of reals classified real and of fakes classified fake, and the class accuracy on reals, all in [0, 1]."""
        self.decision_threshold = self._loss.decision_threshold(context)
        real, fake = context.real_logits, context.fake_logits
        return {
            "accuracy_real": (real > self.decision_threshold).float().mean(),
            "accuracy_fake": (fake < self.decision_threshold).float().mean(),
            **_classifier_metrics(context, context.real_output, "class_accuracy_real"),
        }

    def generator_metrics(self, context: LossContext) -> dict[str, Tensor]:
        """Fraction of fakes that the discriminator classifies real, and its class accuracy on fakes, in [0, 1]."""
        return {
            "fool_rate": (context.fake_logits > self.decision_threshold).float().mean(),
            **_classifier_metrics(context, context.fake_output, "class_accuracy_fake"),
        }


def _classifier_metrics(context: LossContext, output: DiscriminatorOutput, name: str) -> dict[str, Tensor]:
    logits, labels = output.class_logits, context.labels
    if logits is None or labels is None:
        return {}
    right = (logits > 0) == (labels > 0) if context.multi_label else logits.argmax(1) == labels.argmax(1)
    return {name: right.float().mean()}
