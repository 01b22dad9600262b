"""Loss terms: a loss is a list of terms for each network."""

from gan_lab.losses.base import LossContext, LossTerm

__all__ = ["LossContext", "LossTerm"]
