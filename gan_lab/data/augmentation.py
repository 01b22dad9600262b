"""Differentiable augmentations of the real and generated images before they enter the discriminator."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

POLICY = ("color", "translation", "cutout")


class Augmentation(nn.Module, ABC):
    """A random transformation drawn for each image; twice differentiable, which gradient penalties need."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` in about [-1, 1], of any floating-point type, to the same shape in float32 (float64 stays)."""

    def set_progress(self, progress: float) -> None:
        """Set the fraction of training that is complete, in [0, 1]."""

    def strength_at(self, progress: float) -> float:
        """The strength of an augmentation that fades out, at a fraction of the training; 0 for others."""
        return 0.0

    def schedulable(self) -> dict[str, Callable[[float], object]]:
        """What sets each argument that ``schedule.of`` can change during training, by name; it writes into a tensor."""
        return {}

    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        """Called after each discriminator step.

        Args:
            real_logits: the discriminator's logits of real images minus its decision threshold, ``[N]``.

        Returns:
            Scalars to log, on the device.
        """
        return {}


class Augmentations(Augmentation):
    """A sequence of augmentations.

    Args:
        augmentations: by name, in the order in which they are applied; may be empty.
    """

    def __init__(self, augmentations: Mapping[str, Augmentation]) -> None:
        super().__init__()
        self.chain = nn.ModuleDict(augmentations)

    def __iter__(self) -> Iterator[Augmentation]:
        return iter(cast("list[Augmentation]", list(self.chain.values())))

    def forward(self, images: Tensor) -> Tensor:
        for augmentation in self:
            images = augmentation(images)
        return images

    def set_progress(self, progress: float) -> None:
        for augmentation in self:
            augmentation.set_progress(progress)

    def strengths_at(self, progress: float) -> dict[str, float]:
        """:meth:`strength_at` of each augmentation by name."""
        chain = cast("dict[str, Augmentation]", dict(self.chain.items()))
        return {name: part.strength_at(progress) for name, part in chain.items()}

    def schedulable(self) -> dict[str, Callable[[float], object]]:
        chain = cast("dict[str, Augmentation]", dict(self.chain.items()))
        return {f"{name}.{key}": setter for name, part in chain.items() for key, setter in part.schedulable().items()}

    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        return {name: value for augmentation in self for name, value in augmentation.observe(real_logits).items()}


class DiffAugment(Augmentation):
    """Differentiable augmentation (Zhao et al. 2020); each policy is applied to every image.

    ``color`` adds a random brightness, then scales the difference from the mean over channels (saturation; grayscale images
    have none), then the difference from the mean of the image (contrast). ``translation`` shifts by whole pixels and fills with
    zeros. ``cutout`` sets a rectangle to zero whose center is anywhere in the image. All draws are uniform.

    Args:
        policy: one or more of ``color``, ``translation`` and ``cutout``, in the order in which they are applied.
        brightness: range of the added value.
        saturation: range of the factor.
        contrast: range of the factor.
        translation: largest shift, as a fraction of height and width.
        cutout: sides of the rectangle, as fractions of height and width.

    Raises:
        ValueError: a policy is unknown, or a range or fraction is invalid.
    """

    def __init__(
        self,
        policy: list[str],
        brightness: tuple[float, float] = (-0.5, 0.5),
        saturation: tuple[float, float] = (0.0, 2.0),
        contrast: tuple[float, float] = (0.5, 1.5),
        translation: float = 0.125,
        cutout: float = 0.5,
    ) -> None:
        super().__init__()
        if isinstance(policy, str) or not policy or not set(policy) <= set(POLICY):
            raise ValueError(f"policy={policy}: must be a list of one or more of {', '.join(POLICY)}")
        self.policy = tuple(policy)
        self.brightness = _check_range("brightness", brightness, -math.inf)
        self.saturation = _check_range("saturation", saturation, 0.0)
        self.contrast = _check_range("contrast", contrast, 0.0)
        self.translation = _check_fraction("translation", translation)
        self.cutout = _check_fraction("cutout", cutout)

    def forward(self, images: Tensor) -> Tensor:
        transforms = {"color": self._color, "translation": self._translate, "cutout": self._cut_out}
        with full_precision(images) as images:
            for name in self.policy:
                images = transforms[name](images)
        return images

    def _color(self, images: Tensor) -> Tensor:
        images = images + _uniform(images, self.brightness)
        for factor, dims in ((self.saturation, [1]), (self.contrast, [1, 2, 3])):
            mean = images.mean(dims, keepdim=True)
            images = (images - mean) * _uniform(images, factor) + mean
        return images

    def _translate(self, images: Tensor) -> Tensor:
        for dim in (2, 3):
            size = images.shape[dim]
            max_shift = int(self.translation * size + 0.5)
            source = _positions(images, dim) - _random_integers(images, -max_shift, max_shift)
            shifted = images.gather(dim, source.clamp(0, size - 1).expand_as(images))
            images = shifted * ((source >= 0) & (source < size))
        return images

    def _cut_out(self, images: Tensor) -> Tensor:
        rows, columns = (self._draw_cutout(images, dim) for dim in (2, 3))
        return images * ~(rows & columns)

    def _draw_cutout(self, images: Tensor, dim: int) -> Tensor:
        """Whether each row (``dim=2``, ``[N, 1, H, 1]``) or column (``dim=3``, ``[N, 1, 1, W]``) crosses the rectangle."""
        size = images.shape[dim]
        side = int(self.cutout * size + 0.5)
        # the center of an even side is between two pixels, which gives one more position, as in the authors' code
        first = _random_integers(images, 0, size - side % 2) - side // 2
        positions = _positions(images, dim)
        return (positions >= first) & (positions < first + side)


class InstanceNoise(Augmentation):
    """Gaussian noise on real and generated images, so that their distributions overlap (Sonderby et al. 2017; Arjovsky & Bottou
    2017).

    Args:
        sigma: initial standard deviation, for images in [-1, 1].
        until: fraction of training, in (0, 1], after which sigma has decreased linearly to 0.

    Raises:
        ValueError: ``sigma`` is negative or not finite, or ``until`` is out of range.
    """

    sigma: Tensor

    def __init__(self, sigma: float = 0.1, until: float = 1.0) -> None:
        super().__init__()
        if not 0.0 <= sigma < math.inf:
            raise ValueError(f"sigma={sigma}: must be 0 or more")
        if not 0.0 < until <= 1.0:
            raise ValueError(f"until={until}: must lie in (0, 1], a fraction of training")
        self.start, self.until = sigma, until
        self.register_buffer("sigma", torch.tensor(sigma), persistent=False)

    def set_progress(self, progress: float) -> None:
        self.sigma.fill_(self.strength_at(progress))

    def strength_at(self, progress: float) -> float:
        return self.start * max(0.0, 1.0 - progress / self.until)

    def forward(self, images: Tensor) -> Tensor:
        with full_precision(images) as images:
            # not randn_like, whose result depends on the memory format
            noise = torch.randn(images.shape, dtype=images.dtype, device=images.device)
            return images + self.sigma * noise


class Blur(Augmentation):
    """A Gaussian blur of real and generated images that fades out (Projected GAN's ``blur_init_sigma``).

    As in the authors' code the weights are ``2 ** -(distance / sigma)**2`` up to three sigma; pixels beyond the border are 0.

    Args:
        sigma: initial width of the blur in pixels.
        until: fraction of training, in (0, 1], after which sigma has decreased linearly to 0.

    Raises:
        ValueError: ``sigma`` is negative or not finite, or ``until`` is out of range.
    """

    sigma: Tensor

    def __init__(self, sigma: float = 2.0, until: float = 0.02) -> None:
        super().__init__()
        if not 0.0 <= sigma < math.inf:
            raise ValueError(f"sigma={sigma}: must be 0 or more")
        if not 0.0 < until <= 1.0:
            raise ValueError(f"until={until}: must lie in (0, 1], a fraction of training")
        self.start, self.until, self.radius = sigma, until, int(3 * sigma)
        self.register_buffer("sigma", torch.tensor(sigma), persistent=False)

    def set_progress(self, progress: float) -> None:
        self.sigma.fill_(self.strength_at(progress))

    def strength_at(self, progress: float) -> float:
        return self.start * max(0.0, 1.0 - progress / self.until)

    def weights(self) -> Tensor:
        """Weights of the pixels at distances ``-radius`` to ``radius``; their sum is 1."""
        distance = torch.arange(-self.radius, self.radius + 1, device=self.sigma.device)
        weights = torch.exp2(-(distance / self.sigma.clamp(min=1e-6)).square())
        weights = weights * (distance.abs() <= (3 * self.sigma).floor())  # below sigma = 1/3 only the pixel itself is left
        return weights / weights.sum()

    def forward(self, images: Tensor) -> Tensor:
        with full_precision(images) as images:
            channels = images.shape[1]
            weights = self.weights().to(images.dtype).expand(channels, 1, 1, -1)
            rows = conv2d(images, weights, padding=(0, self.radius), groups=channels)
            return conv2d(rows, weights.transpose(2, 3), padding=(self.radius, 0), groups=channels)


@contextmanager
def full_precision(images: Tensor) -> Iterator[Tensor]:
    """The images in float32 (float64 stays) with autocast disabled: half precision would round colors and coordinates."""
    with torch.autocast(images.device.type, enabled=False):
        yield images.to(torch.promote_types(images.dtype, torch.float32))


def _uniform(images: Tensor, limits: tuple[float, float]) -> Tensor:
    """A uniform random number for each image, ``[N, 1, 1, 1]``."""
    return images.new_empty(len(images), 1, 1, 1).uniform_(*limits)


def _random_integers(images: Tensor, low: int, high: int) -> Tensor:
    """A random integer in [low, high] for each image, ``[N, 1, 1, 1]`` int64."""
    return torch.randint(low, high + 1, (len(images), 1, 1, 1), device=images.device)


def _positions(images: Tensor, dim: int) -> Tensor:
    """Pixel indices 0, 1, 2, ... along ``dim``, in a shape that broadcasts with the images."""
    return torch.arange(images.shape[dim], device=images.device).view([-1 if d == dim else 1 for d in range(4)])


def _check_range(name: str, limits: tuple[float, float], lowest: float) -> tuple[float, float]:
    if len(limits) != 2 or not -math.inf < limits[0] <= limits[1] < math.inf or limits[0] < lowest:
        bound = "" if lowest == -math.inf else f" of {lowest:g} or more"
        raise ValueError(f"{name}={list(limits)}: must be two numbers{bound}, the smaller one first")
    return limits[0], limits[1]


def _check_fraction(name: str, fraction: float) -> float:
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"{name}={fraction}: must lie in [0, 1], a fraction of height and width")
    return fraction
