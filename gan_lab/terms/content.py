"""Terms about what is in the images rather than whether they are real."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from gan_lab.terms.base import JudgementView, RoundView, Term


class FeatureMatching(Term):
    """``mean((E f(real) - E f(fake))^2)`` over the discriminator's features f (Salimans et al. 2016, section 3.1).

    The mean over features in place of their sum keeps the weight's meaning from network to network.
    """

    def __call__(self, round: RoundView) -> Tensor:
        real, fake = (_mean(judgement.features) for judgement in (round.real_judgement, round.fake_judgement))
        return (real - fake).square().mean()


class LabelsOfReals(Term):
    """Cross-entropy of the auxiliary classifier on real images; for attributes, of each.

    Odena et al. 2017, eq. 3, add that on fakes; like most of the code after them we train the classifier on reals alone, so
    that it does not learn what the generator got wrong.
    """

    def __call__(self, round: RoundView) -> Tensor:
        return _label_loss(round, round.real_judgement)


class LabelsOfFakes(Term):
    """The same on fakes, by which the generator learns to draw what it was asked for."""

    def __call__(self, round: RoundView) -> Tensor:
        return _label_loss(round, round.fake_judgement)


def _mean(features: Tensor) -> Tensor:
    return features.mean(0, dtype=torch.promote_types(features.dtype, torch.float32))


def _label_loss(round: RoundView, judgement: JudgementView) -> Tensor:
    assert round.labels is not None and judgement.class_logits is not None, "conditioning=auxiliary_classifier has both"
    loss = binary_cross_entropy_with_logits if round.multi_label else cross_entropy
    return loss(judgement.class_logits, round.labels)
