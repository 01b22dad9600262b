"""Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with Limited Data", StyleGAN2-ADA)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from gan_lab.data.augmentation import Augmentation, full_precision

BILINEAR, REFLECTION = 0, 2
"""How ATen numbers them."""


class AdaptiveAugment(Augmentation):
    """The paper's pipeline "bgc" (pixel blitting, geometry, colour), as much of it as the discriminator overfits.

    Each transformation happens to an image with probability ``p``. All geometric ones become one affine map, by which the image
    is sampled once: bilinear, mirrored beyond its borders, *without* the paper's wavelet filters against aliasing, so that a
    shrunk image is rougher than there. All colour ones become one matrix. Images of other than 3 channels get brightness and
    contrast only (there also the luma flip).

    ``p`` follows the overfitting, ``E[sign(D(real) - boundary)]``: it rises above ``target`` and falls below it, by the images
    seen / 1000 ``kimg``. The paper's losses have their boundary at 0; a critic's is where the batch says.

    Args:
        p: the probability at the start.
        target: of the overfitting, in [-1, 1]; None: ``p`` stays as it is.
        interval: turns of the discriminator from one adjustment of ``p`` to the next.
        kimg: thousands of images in which ``p`` can go from 0 to 1.
        flip: whether images are mirrored left to right (half of those chosen by ``p``).
        quarter_turns: whether they are turned by 0, 90, 180 or 270 degrees.
        shift: farthest move by whole pixels, as a share of the image's sides.
        scale: standard deviation of log2 of the magnification.
        rotation: largest angle, in half turns, one before and one after the stretching.
        stretch: standard deviation of log2 of the factor that widens and flattens.
        translation: standard deviation of a move by fractions of a pixel, as a share of the image's sides.
        brightness: standard deviation of what is added, images being in [-1, 1].
        contrast: standard deviation of log2 of the factor.
        luma_flip: whether light becomes dark with hue and saturation kept (half of those chosen by ``p``).
        hue: largest angle about the grey axis, in half turns.
        saturation: standard deviation of log2 of the factor.

    A strength of 0 or false switches its transformation off.

    Raises:
        ValueError: a probability, a target, a time or a strength that can't be.
    """

    p: Tensor
    signs: Tensor
    seen: Tensor
    turns: Tensor

    def __init__(
        self,
        p: float = 0.0,
        target: float | None = 0.6,
        interval: int = 4,
        kimg: float = 500.0,
        flip: bool = True,
        quarter_turns: bool = True,
        shift: float = 0.125,
        scale: float = 0.2,
        rotation: float = 1.0,
        stretch: float = 0.2,
        translation: float = 0.125,
        brightness: float = 0.2,
        contrast: float = 0.5,
        luma_flip: bool = True,
        hue: float = 1.0,
        saturation: float = 1.0,
    ) -> None:
        super().__init__()
        _check_control(p, target, interval, kimg)
        self.target, self.interval, self.images = target, interval, kimg * 1000
        self.geometry = GeometricTransform(flip, quarter_turns, shift, scale, rotation, stretch, translation)
        self.colours = ColorTransform(brightness, contrast, luma_flip, hue, saturation)
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("signs", torch.zeros(()))  # the sum since the last adjustment
        self.register_buffer("seen", torch.zeros(()))  # of how many images
        self.register_buffer("turns", torch.zeros((), dtype=torch.int64))  # in how many turns

    def forward(self, images: Tensor) -> Tensor:
        with full_precision(images) as images:
            draws = RandomParameters(images, self.p)
            height, width = images.shape[2:]
            return self.colours(_Sample.apply(images, self.geometry.grid(draws, height, width)), draws)

    @torch.no_grad()
    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        """Figures: ``ada_p``, and ``ada_rt``, the mean sign of the interval so far. No step of it waits for the device."""
        self.signs += real_logits.sign().sum()
        self.seen += real_logits.numel()
        self.turns += 1
        mean = self.signs / self.seen
        due = self.turns >= self.interval
        if self.target is not None:
            step = torch.sign(mean - self.target) * self.seen / self.images
            self.p.copy_((self.p + due * step).clamp(0.0, 1.0))
        for count in (self.signs, self.seen, self.turns):
            count *= ~due
        return {"ada_p": self.p.clone(), "ada_rt": mean}


class RandomParameters:
    """Numbers for each image: drawn with probability ``p``, else 0, which leaves the image as it is.

    Args:
        images: ``[N, C, H, W]``, whose number, type and device they share.
        p: a scalar.
    """

    def __init__(self, images: Tensor, p: Tensor) -> None:
        self._images = images
        self.p = p

    def uniform(self, limit: float, *axes: int, p: Tensor | None = None) -> Tensor:
        """``[N, *axes]`` from U(-limit, limit)."""
        return self._some(self._new(*axes).uniform_(-limit, limit), p)

    def normal(self, std: float, *axes: int) -> Tensor:
        """``[N, *axes]`` from N(0, std^2)."""
        return self._some(self._new(*axes).normal_(0.0, std))

    def integers(self, below: int) -> Tensor:
        """``[N]`` from 0, ..., below - 1."""
        return self._some(torch.randint(below, (len(self._images),), dtype=self._images.dtype, device=self._images.device))

    def _new(self, *axes: int) -> Tensor:
        return self._images.new_empty(len(self._images), *axes)

    def _some(self, values: Tensor, p: Tensor | None = None) -> Tensor:
        chosen = torch.rand(len(values), *[1] * (values.dim() - 1), device=values.device) < (self.p if p is None else p)
        return values * chosen


@dataclass(frozen=True)
class GeometricTransform:
    """The geometric transformations' strengths, as :class:`AdaptiveAugment` describes them."""

    flip: bool
    quarter_turns: bool
    shift: float
    scale: float
    rotation: float
    stretch: float
    translation: float

    def __post_init__(self) -> None:
        _check_strengths(self)

    def grid(self, draws: RandomParameters, height: int, width: int) -> Tensor:
        """Where each pixel comes from, ``[N, H, W, 2]``: (x, y), the outermost pixels' centres being -1 and 1.

        Whole pixels are moved along the input's sides, before flips and quarter turns; the paper's other order gives a square
        image the same distribution.
        """
        linear = self._linear(draws)
        shift, translation = draws.uniform(self.shift, 2), draws.normal(self.translation, 2)

        def centred(axis: int, size: int) -> Tensor:
            return torch.arange(size, device=linear.device) - (size - 1) / 2 + translation[:, axis, None] * size

        x, y = centred(0, width)[:, None, :], centred(1, height)[:, :, None]

        def source(axis: int, size: int) -> Tensor:
            to_x, to_y, moved = linear[:, axis, 0], linear[:, axis, 1], torch.round(shift[:, axis] * size)
            pixels = to_x[:, None, None] * x + to_y[:, None, None] * y + moved[:, None, None]
            return pixels * (2 / max(size - 1, 1))

        return torch.stack([source(0, width), source(1, height)], dim=-1)

    def _linear(self, draws: RandomParameters) -> Tensor:
        """Flip, turns, scaling and stretching as a map from output to input positions, ``[N, 2, 2]``.

        The paper composes the map from input to output; each transformation is distributed like its inverse, so the inverse of
        the whole needs no other draws.
        """
        once = 1 - torch.sqrt(1 - draws.p)  # so that at least one of both rotations happens with probability p
        before, after = (draws.uniform(self.rotation * math.pi, p=once) for _ in range(2))
        quarters = draws.integers(4 if self.quarter_turns else 1)
        scale, stretch = torch.exp2(draws.normal(self.scale)), torch.exp2(draws.normal(self.stretch))
        mirror = 1 - 2 * draws.integers(2 if self.flip else 1)
        stretched = torch.stack([scale * stretch, scale / stretch], -1)[..., None] * _rotation(after)
        # not by @, which may compute in TF32: 10 bits are too few for positions
        turned = (_rotation(before + quarters * (math.pi / 2))[..., None] * stretched[:, None]).sum(2)
        return torch.stack([mirror, torch.ones_like(mirror)], -1)[..., None] * turned


@dataclass(frozen=True)
class ColorTransform:
    """The colour transformations' strengths, as :class:`AdaptiveAugment` describes them."""

    brightness: float
    contrast: float
    luma_flip: bool
    hue: float
    saturation: float

    def __post_init__(self) -> None:
        _check_strengths(self)

    def __call__(self, images: Tensor, draws: RandomParameters) -> Tensor:
        images = images + draws.normal(self.brightness, 1, 1, 1)
        contrast = torch.exp2(draws.normal(self.contrast, 1, 1, 1))
        if images.shape[1] != 3:
            return images * contrast
        matrix = self._matrix(draws, images) * contrast[..., 0]
        return (matrix[..., None, None] * images[:, None]).sum(2)  # not by @: it may compute in TF32

    def _matrix(self, draws: RandomParameters, images: Tensor) -> Tensor:
        """Luma flip, hue and saturation, ``[N, 3, 3]``; luma is the part along the grey axis, hue the angle about it."""
        identity = torch.eye(3, dtype=images.dtype, device=images.device)
        luma = torch.full_like(identity, 1 / 3)
        quarter = (identity.roll(1, 0) - identity.roll(-1, 0)) / math.sqrt(3)  # the cross product with the grey axis
        flip = 1 - 2 * draws.integers(2 if self.luma_flip else 1)[:, None, None]
        angle = draws.uniform(self.hue * math.pi, 1, 1)
        saturation = torch.exp2(draws.normal(self.saturation, 1, 1))
        return flip * luma + saturation * (angle.cos() * (identity - luma) + angle.sin() * quarter)


class _Sample(torch.autograd.Function):
    """``grid_sample``, differentiable with respect to the images any number of times.

    The oldest torch this project supports (2.6) can't differentiate its own twice. It is linear in the images, though: its
    gradient is the transpose, whose gradient is the sampling again; neither has to keep the images.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Scatter.apply(gradients[0], grid, ctx.shape), None


class _Scatter(torch.autograd.Function):
    """The transpose of :class:`_Sample`: ``[N, C, H, W]`` values added up where they were sampled from."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        images = values.new_zeros(shape)  # their values matter to the grid's gradient only, which is not asked for
        return torch.ops.aten.grid_sampler_2d_backward(values, images, grid, BILINEAR, REFLECTION, True, [True, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradients[0], grid), None, None


def _rotation(angle: Tensor) -> Tensor:
    """``[N]`` to ``[N, 2, 2]``."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)


def _check_control(p: float, target: float | None, interval: int, kimg: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p={p}: must lie in [0, 1], a probability")
    if target is not None and not -1.0 <= target <= 1.0:
        raise ValueError(f"target={target}: must lie in [-1, 1], a mean of signs, or be null to keep p")
    if interval < 1:
        raise ValueError(f"interval={interval}: p is adjusted every 1 or more turns")
    if not 0.0 < kimg < math.inf:
        raise ValueError(f"kimg={kimg}: must be a positive number")


def _check_strengths(strengths: GeometricTransform | ColorTransform) -> None:
    for name, value in vars(strengths).items():
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{name}={value}: must be a number of 0 (off) or more")
