"""What a player minimises: a loss is a list of terms for each player."""

from gan_lab.losses.base import RoundView, Term

__all__ = ["RoundView", "Term"]
