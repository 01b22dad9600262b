"""A plane of the latent space: a square of seeds' latents, and between them points on great circles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_lab.models.draws import draw_seeds
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.utils.suggestions import Typed


@dataclass(frozen=True)
class LatentPlane:
    """A surface through the latents of several seeds, with coordinates in [0, 1].

    Attributes:
        latents: ``[K, K, latent_size]`` of the seeds, row by row.
        labels: ``[K, K, classes]``, or None.
    """

    latents: Tensor
    labels: Tensor | None

    @classmethod
    def through(
        cls,
        latents: NormalLatents | NoLatents,
        labels: Labels | NoLabels,
        seeds: Sequence[int],
        classes: Sequence[Typed] = (),
        bound: float | None = None,
    ) -> LatentPlane:
        """The plane through image 0 of each seed, which :func:`gan_lab.models.draws.draw_seeds` draws, too.

        Args:
            latents, labels: their sources.
            seeds: 4, 9, 16, ...: the rows of a square.
            classes: the class of all images, or empty: each has one with the frequencies of the data.
            bound: largest absolute value of a latent, or None.

        Raises:
            ValueError: there is another number of seeds, or no such class.
        """
        side = math.isqrt(len(seeds))
        if side < 2 or side**2 != len(seeds):
            raise ValueError(f"plane: takes 4, 9 or 16 seeds, or another square number of them, not {len(seeds)}")
        if len(classes) > 1:
            raise ValueError(f"classes={list(classes)}: a plane has images of one class; give at most one")
        drawn = draw_seeds(latents, labels, 1, seeds, classes=classes, bound=bound)
        z, encoded = (None if part is None else part.unflatten(0, (side, side)) for part in drawn)
        assert z is not None
        return cls(z, encoded)

    def at(self, points: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents ``[N, latent_size]`` and labels ``[N, classes]`` of points ``[N, 2]``, from the left and from the top."""
        side = self.latents.shape[0]
        places = points.to(self.latents).clamp(0, 1) * (side - 1)
        before = places.floor().clamp(max=side - 2).long()
        x, y = (places - before).unsqueeze(2).unbind(1)
        column, row = before.unbind(1)
        upper = slerp(self.latents[row, column], self.latents[row, column + 1], x)
        lower = slerp(self.latents[row + 1, column], self.latents[row + 1, column + 1], x)
        return slerp(upper, lower, y), None if self.labels is None else self._labels(row, column, x, y)

    def _labels(self, row: Tensor, column: Tensor, x: Tensor, y: Tensor) -> Tensor:
        assert self.labels is not None
        upper = torch.lerp(self.labels[row, column], self.labels[row, column + 1], x)
        lower = torch.lerp(self.labels[row + 1, column], self.labels[row + 1, column + 1], x)
        return torch.lerp(upper, lower, y)


def square_points(side: int) -> Tensor:
    """The points of a square lattice, ``[side * side, 2]``, row by row."""
    steps = torch.linspace(0, 1, side)
    return torch.cartesian_prod(steps, steps).flip(1)


def slerp(first: Tensor, second: Tensor, fraction: float | Tensor) -> Tensor:
    """Spherical interpolation of vectors ``[N, D]`` (Shoemake 1985): the angle and the length change linearly.

    Args:
        first, second: the vectors at fractions 0 and 1.
        fraction: a number, or ``[N, 1]``.
    """
    lengths = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
    one, other = first / lengths[0], second / lengths[1]
    angle = (one * other).sum(1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    weights = ((1 - fraction) * angle).sin() / sine, (fraction * angle).sin() / sine
    direction = torch.where(sine.abs() < 1e-4, torch.lerp(one, other, fraction), weights[0] * one + weights[1] * other)
    return direction * torch.lerp(*lengths, fraction)
