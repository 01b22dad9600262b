"""Who is winning: accuracies of both players, whatever the loss."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from gan_lab.terms.adversarial import DiscriminatorTerm
from gan_lab.terms.base import RoundView, Term


class Accuracy:
    """Judges by the boundary the discriminator's adversarial term defines.

    A Wasserstein critic's boundary depends on the batch, so the generator is judged by that of the latest discriminator turn.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        adversarial = [term for term in terms if isinstance(term, DiscriminatorTerm)]
        if not adversarial:
            raise ValueError("loss.discriminator: no adversarial term among its terms")
        self._term = adversarial[0]
        self._boundary: Tensor | float = 0.0

    def of_discriminator(self, round: RoundView) -> dict[str, Tensor]:
        """Shares of reals judged real and of fakes judged fake, in [0, 1]."""
        self._boundary = self._term.boundary(round)
        real, fake = round.real_logits, round.fake_logits
        return {
            "accuracy_real": (real > self._boundary).float().mean(),
            "accuracy_fake": (fake < self._boundary).float().mean(),
        }

    def of_generator(self, round: RoundView) -> dict[str, Tensor]:
        """Share of the generator's fakes that the discriminator takes for real, in [0, 1]."""
        return {"fool_rate": (round.fake_logits > self._boundary).float().mean()}
