"""What a player minimises: a loss is a list of terms for each player."""

from gan_lab.losses.base import LossContext, LossTerm

__all__ = ["LossContext", "LossTerm"]
