"""Who is winning: accuracies of both players, whatever the loss."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from gan_lab.losses.adversarial import DiscriminatorLoss
from gan_lab.losses.base import DiscriminatorOutputView, LossContext, LossTerm


class Accuracy:
    """Judges by the boundary the discriminator's adversarial term defines.

    A critic's boundary depends on the batch, so the generator is judged by that of the latest discriminator turn.

    Attributes:
        boundary: the latest.
    """

    def __init__(self, terms: Iterable[LossTerm]) -> None:
        self._term = next((term for term in terms if isinstance(term, DiscriminatorLoss)), None)
        if self._term is None:
            raise ValueError("loss.discriminator: its terms must have an adversarial one of the discriminator's")
        self.decision_threshold: Tensor | float = 0.0

    def discriminator_metrics(self, round: LossContext) -> dict[str, Tensor]:
        """Shares of reals judged real and of fakes judged fake, and with a classifier of reals' labels told, in [0, 1]."""
        assert self._term is not None
        self.decision_threshold = self._term.decision_threshold(round)
        real, fake = round.real_logits, round.fake_logits
        return {
            "accuracy_real": (real > self.decision_threshold).float().mean(),
            "accuracy_fake": (fake < self.decision_threshold).float().mean(),
            **_classifier_metrics(round, round.real_output, "class_accuracy_real"),
        }

    def generator_metrics(self, round: LossContext) -> dict[str, Tensor]:
        """Shares of fakes that the discriminator takes for real, and, with a classifier, for what they should be."""
        return {
            "fool_rate": (round.fake_logits > self.decision_threshold).float().mean(),
            **_classifier_metrics(round, round.fake_output, "class_accuracy_fake"),
        }


def _classifier_metrics(round: LossContext, judgement: DiscriminatorOutputView, name: str) -> dict[str, Tensor]:
    logits, labels = judgement.class_logits, round.labels
    if logits is None or labels is None:
        return {}
    right = (logits > 0) == (labels > 0) if round.multi_label else logits.argmax(1) == labels.argmax(1)
    return {name: right.float().mean()}
