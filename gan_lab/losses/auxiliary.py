"""Losses on a discriminator's features and class logits: feature matching and the auxiliary classifier."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from gan_lab.losses.base import LossContext, LossTerm
from gan_lab.models.base import DiscriminatorOutput


class FeatureMatchingLoss(LossTerm):
    """``mean((E f(real) - E f(fake))^2)`` over the discriminator's features f (Salimans et al. 2016, section 3.1).

    It is the mean over features instead of their sum, so that a weight has the same effect whatever their number.
    """

    def __call__(self, context: LossContext) -> Tensor:
        real, fake = (_mean_features(output) for output in (context.real_output, context.fake_output))
        return (real - fake).square().mean()


class AuxiliaryClassifierRealLoss(LossTerm):
    """Cross-entropy of the auxiliary classifier on real images; binary cross-entropy for attributes.

    Odena et al. 2017, eq. 3, also train the classifier on fakes. Like most later code this trains it on reals only, so that
    it does not learn the generator's mistakes.
    """

    def __call__(self, context: LossContext) -> Tensor:
        return _label_loss(context, context.real_output)


class AuxiliaryClassifierFakeLoss(LossTerm):
    """Cross-entropy of the auxiliary classifier on fakes, which trains the generator to follow the labels."""

    def __call__(self, context: LossContext) -> Tensor:
        return _label_loss(context, context.fake_output)


def _mean_features(output: DiscriminatorOutput) -> Tensor:
    return output.features.mean(0, dtype=torch.promote_types(output.features.dtype, torch.float32))


def _label_loss(context: LossContext, output: DiscriminatorOutput) -> Tensor:
    assert context.labels is not None and output.class_logits is not None, "conditioning=auxiliary_classifier provides both"
    loss = binary_cross_entropy_with_logits if context.multi_label else cross_entropy
    return loss(output.class_logits, context.labels)
