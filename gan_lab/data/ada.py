"""Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with Limited Data", StyleGAN2-ADA)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_lab.data.augmentation import Augmentation, full_precision
from gan_lab.data.grid_sampling import sample_bilinear


class AdaptiveAugment(Augmentation):
    """The paper's pipeline "bgc" (pixel blitting, geometric and color transformations) with adaptive probability ``p``.

    Each transformation is applied to an image with probability ``p``. The geometric ones are combined into one affine map, and
    the image is sampled once: bilinear, with reflection at the borders, and without the paper's wavelet low-pass filters, so
    that downscaled images have more aliasing. The color ones are combined into one 3x3 matrix. Images that don't have three
    channels get brightness and contrast only (in the paper also the luma flip). With ``cutout`` it is the paper's "bgcc", and a
    square of the image is set to zero at the end.

    The overfitting measure is ``r_t = E[sign(D(real) - threshold)]`` over ``interval`` discriminator steps. After each
    interval, ``p`` increases if ``r_t > target`` and decreases if ``r_t < target``, by the number of real images seen divided
    by ``1000 * kimg``. The threshold is the loss's decision threshold; it is 0 in the paper.

    Args:
        p: initial probability.
        target: target of ``r_t``, in [-1, 1]; None keeps ``p`` constant.
        interval: discriminator steps between two adjustments of ``p``.
        kimg: thousands of images in which ``p`` can go from 0 to 1.
        flip: whether to flip horizontally (with probability 1/2 if chosen by ``p``).
        quarter_turns: whether to rotate by 0, 90, 180 or 270 degrees.
        shift: largest shift by whole pixels, as a fraction of height and width.
        scale: standard deviation of log2 of the scaling factor.
        rotation: largest angle of the two rotations, before and after the anisotropic scaling, in units of 180 degrees.
        stretch: standard deviation of log2 of the anisotropic scaling factor.
        translation: standard deviation of the subpixel translation, as a fraction of height and width.
        brightness: standard deviation of the added value, for images in [-1, 1].
        contrast: standard deviation of log2 of the factor.
        luma_flip: whether to invert luma and keep hue and saturation (with probability 1/2 if chosen by ``p``).
        hue: largest rotation around the gray axis, in units of 180 degrees.
        saturation: standard deviation of log2 of the factor.
        color_p: probability of the color transformations, as a fraction of ``p``.
        cutout: side of the zeroed square, as a fraction of height and width; 0.5 in the paper.

    A strength of 0 or False disables a transformation. The buffers ``signs``, ``seen`` and ``turns`` hold the sum of signs, the
    number of images and the number of steps since the last adjustment.

    Raises:
        ValueError: an argument is out of range.
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
        color_p: float = 1.0,
        cutout: float = 0.0,
    ) -> None:
        super().__init__()
        if not (0.0 <= color_p <= 1.0 and 0.0 <= cutout <= 1.0):
            raise ValueError(f"{color_p=}, {cutout=}: must be fractions in [0, 1]")
        self.color_p, self.cutout = color_p, cutout
        _check_control(p, target, interval, kimg)
        self.target, self.interval, self._images_to_full_p = target, interval, kimg * 1000
        self.geometry = GeometricTransform(flip, quarter_turns, shift, scale, rotation, stretch, translation)
        self.colors = ColorTransform(brightness, contrast, luma_flip, hue, saturation)
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("turns", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        with full_precision(images) as images:
            draws = RandomParameters(images, self.p)
            height, width = images.shape[2:]
            images = sample_bilinear(images, self.geometry.grid(draws, height, width))
            images = self.colors(images, RandomParameters(images, self.p * self.color_p))
            return images * draws.squares_cut_out(self.cutout) if self.cutout else images

    def schedulable(self) -> dict[str, Callable[[float], object]]:
        """``p``, unless it follows the target."""
        return {"p": self.p.fill_} if self.target is None else {}

    @torch.no_grad()
    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        """Update ``p``; return ``ada_p`` and ``ada_rt``, the mean sign of the interval so far. Never waits for the GPU.

        Args:
            real_logits: see :meth:`Augmentation.observe`.
        """
        self.signs += real_logits.sign().nan_to_num().sum()
        self.seen += real_logits.numel()
        self.turns += 1
        mean = self.signs / self.seen
        due = self.turns >= self.interval
        if self.target is not None:
            step = torch.sign(mean - self.target) * self.seen / self._images_to_full_p
            self.p.copy_((self.p + due * step).clamp(0.0, 1.0))
        for buffer in (self.signs, self.seen, self.turns):
            buffer *= ~due
        return {"ada_p": self.p.clone(), "ada_rt": mean}


class RandomParameters:
    """Random parameters for each image: drawn with probability ``p``, else 0, which means no transformation.

    Args:
        images: ``[N, C, H, W]``; parameters have its batch size, type and device.
        p: scalar probability.
    """

    def __init__(self, images: Tensor, p: Tensor) -> None:
        self._images = images
        self.p = p

    def uniform(self, limit: float, *axes: int, p: Tensor | None = None) -> Tensor:
        """``[N, *axes]`` from U(-limit, limit); ``p`` replaces the default probability."""
        return self._mask(self._empty(*axes).uniform_(-limit, limit), p)

    def normal(self, std: float, *axes: int) -> Tensor:
        """``[N, *axes]`` from N(0, std^2)."""
        return self._mask(self._empty(*axes).normal_(0.0, std))

    def integers(self, below: int) -> Tensor:
        """``[N]`` uniform from {0, ..., below - 1}."""
        return self._mask(torch.randint(below, (len(self._images),), dtype=self._images.dtype, device=self._images.device))

    def squares_cut_out(self, side: float) -> Tensor:
        """``[N, 1, H, W]``: 0 in a square with its center anywhere, else 1; ``side`` is relative to the image's."""
        height, width = self._images.shape[2:]
        sides, centers = self._mask(self._empty().fill_(side))[:, None], torch.rand_like(self._empty(2))

        def inside(axis: int, size: int) -> Tensor:
            positions = (torch.arange(size, device=centers.device) + 0.5) / size
            return (positions - centers[:, axis, None]).abs() < sides / 2

        return (~(inside(0, height)[:, :, None] & inside(1, width)[:, None, :])).to(centers.dtype)[:, None]

    def _empty(self, *axes: int) -> Tensor:
        return self._images.new_empty(len(self._images), *axes)

    def _mask(self, values: Tensor, p: Tensor | None = None) -> Tensor:
        """Set the values of each image to 0 with probability ``1 - p``."""
        chosen = torch.rand(len(values), *[1] * (values.dim() - 1), device=values.device) < (self.p if p is None else p)
        return values * chosen


@dataclass(frozen=True)
class GeometricTransform:
    """The geometric transformations; arguments as in :class:`AdaptiveAugment`."""

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
        """Sampling grid ``[N, H, W, 2]`` of (x, y) for ``grid_sample(align_corners=True)``.

        The shift by whole pixels is along the input's axes, before flips and quarter turns; the paper's order is the reverse,
        with the same distribution for square images.
        """
        linear = self._linear(draws)
        shift, translation = draws.uniform(self.shift, 2), draws.normal(self.translation, 2)

        def output_positions(axis: int, size: int) -> Tensor:
            return torch.arange(size, device=linear.device) - (size - 1) / 2 + translation[:, axis, None] * size

        x, y = output_positions(0, width)[:, None, :], output_positions(1, height)[:, :, None]

        def input_positions(axis: int, size: int) -> Tensor:
            from_x, from_y, offset = linear[:, axis, 0], linear[:, axis, 1], torch.round(shift[:, axis] * size)
            pixels = from_x[:, None, None] * x + from_y[:, None, None] * y + offset[:, None, None]
            return pixels * (2 / max(size - 1, 1))

        return torch.stack([input_positions(0, width), input_positions(1, height)], dim=-1)

    def _linear(self, draws: RandomParameters) -> Tensor:
        """Flip, rotations and scalings as a linear map from output to input positions, ``[N, 2, 2]``.

        The paper composes the map from input to output. Each transformation has the same distribution as its inverse, so the
        inverse map can be composed of the same draws.
        """
        p_rotation = 1 - torch.sqrt(1 - draws.p)  # at least one of the two rotations is applied with probability p
        before, after = (draws.uniform(self.rotation * math.pi, p=p_rotation) for _ in range(2))
        quarters = draws.integers(4 if self.quarter_turns else 1)
        scale, stretch = torch.exp2(draws.normal(self.scale)), torch.exp2(draws.normal(self.stretch))
        mirror = 1 - 2 * draws.integers(2 if self.flip else 1)
        scaled = torch.stack([scale * stretch, scale / stretch], -1)[..., None] * _rotation(after)
        # not @, which may use TF32, whose 10-bit mantissa is too coarse for positions
        rotated = (_rotation(before + quarters * (math.pi / 2))[..., None] * scaled[:, None]).sum(2)
        return torch.stack([mirror, torch.ones_like(mirror)], -1)[..., None] * rotated


@dataclass(frozen=True)
class ColorTransform:
    """The color transformations; arguments as in :class:`AdaptiveAugment`."""

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
        return (matrix[..., None, None] * images[:, None]).sum(2)  # not @, which may use TF32

    def _matrix(self, draws: RandomParameters, images: Tensor) -> Tensor:
        """Luma flip, hue rotation and saturation as matrices ``[N, 3, 3]``.

        Luma is the projection onto the gray axis, and hue is the angle around it.
        """
        identity = torch.eye(3, dtype=images.dtype, device=images.device)
        luma = torch.full_like(identity, 1 / 3)
        quarter = (identity.roll(1, 0) - identity.roll(-1, 0)) / math.sqrt(3)  # cross product with the gray axis
        flip = 1 - 2 * draws.integers(2 if self.luma_flip else 1)[:, None, None]
        angle = draws.uniform(self.hue * math.pi, 1, 1)
        saturation = torch.exp2(draws.normal(self.saturation, 1, 1))
        return flip * luma + saturation * (angle.cos() * (identity - luma) + angle.sin() * quarter)


def _rotation(angle: Tensor) -> Tensor:
    """Angles in radians, ``[N]``, to rotation matrices, ``[N, 2, 2]``."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)


def _check_control(p: float, target: float | None, interval: int, kimg: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p={p}: must be a probability in [0, 1]")
    if target is not None and not -1.0 <= target <= 1.0:
        raise ValueError(f"target={target}: must be a mean of signs in [-1, 1], or null to keep p constant")
    if interval < 1:
        raise ValueError(f"interval={interval}: must be 1 or more discriminator steps")
    if not 0.0 < kimg < math.inf:
        raise ValueError(f"kimg={kimg}: must be a positive number")


def _check_strengths(strengths: GeometricTransform | ColorTransform) -> None:
    for name, value in vars(strengths).items():
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{name}={value}: must be 0 (off) or more")
