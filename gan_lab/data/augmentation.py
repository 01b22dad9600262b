"""What the discriminator sees in place of the images: reals and fakes changed alike, at random, as a part of the graph."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

POLICY = ("color", "translation", "cutout")


class Augmentation(nn.Module, ABC):
    """A random change of images, drawn anew for each; differentiable twice, since penalties differentiate through it."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` in about [-1, 1], of any float type, to the same shape in float32."""

    def set_progress(self, progress: float) -> None:
        """The share of the training that has passed, in [0, 1]."""

    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        """Called after each turn of the discriminator with its ``[N]`` logits of reals, counted from the decision boundary on.

        Returns:
            Figures to log, on the device.
        """
        return {}


class Augmentations(Augmentation):
    """One after the other.

    Args:
        augmentations: by name. None of them: the images themselves are returned.
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

    def observe(self, real_logits: Tensor) -> dict[str, Tensor]:
        return {name: value for augmentation in self for name, value in augmentation.observe(real_logits).items()}


class DiffAugment(Augmentation):
    """Differentiable augmentation (Zhao et al. 2020), every image changed by every policy.

    ``color`` adds a brightness, then multiplies the distance from the mean over channels (saturation; grey images have none),
    then the distance from the mean of the image (contrast). ``translation`` moves by whole pixels, zeros coming in.
    ``cutout`` sets a rectangle to zero whose centre lies anywhere in the image.

    Args:
        policy: some of ``color``, ``translation``, ``cutout``, applied in this order.
        brightness: range of what is added.
        saturation: range of the factor.
        contrast: range of the factor.
        translation: the farthest move, as a share of height and width.
        cutout: sides of the rectangle, as a share of height and width.

    Raises:
        ValueError: an unknown policy, or a range or a share that can't be.
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
        self.brightness = _range("brightness", brightness, -math.inf)
        self.saturation = _range("saturation", saturation, 0.0)
        self.contrast = _range("contrast", contrast, 0.0)
        self.translation = _share("translation", translation)
        self.cutout = _share("cutout", cutout)

    def forward(self, images: Tensor) -> Tensor:
        change = {"color": self._color, "translation": self._translate, "cutout": self._cut_out}
        with full_precision(images) as images:
            for name in self.policy:
                images = change[name](images)
        return images

    def _color(self, images: Tensor) -> Tensor:
        images = images + _uniform(images, self.brightness)
        for factor, over in ((self.saturation, [1]), (self.contrast, [1, 2, 3])):
            mean = images.mean(over, keepdim=True)
            images = (images - mean) * _uniform(images, factor) + mean
        return images

    def _translate(self, images: Tensor) -> Tensor:
        for dim in (2, 3):
            size = images.shape[dim]
            farthest = int(self.translation * size + 0.5)
            source = _positions(images, dim) - _integers(images, -farthest, farthest)
            moved = images.gather(dim, source.clamp(0, size - 1).expand_as(images))
            images = moved * ((source >= 0) & (source < size))
        return images

    def _cut_out(self, images: Tensor) -> Tensor:
        covered = [self._covered(images, dim) for dim in (2, 3)]
        return images * ~(covered[0] & covered[1])

    def _covered(self, images: Tensor, dim: int) -> Tensor:
        """Whether each row (``dim=2``, ``[N, 1, H, 1]``) or column (3, ``[N, 1, 1, W]``) crosses the rectangle."""
        size = images.shape[dim]
        side = int(self.cutout * size + 0.5)
        # an even side has its centre between two pixels, so there is one place more, as in the authors' code
        first = _integers(images, 0, size - side % 2) - side // 2
        positions = _positions(images, dim)
        return (positions >= first) & (positions < first + side)


class InstanceNoise(Augmentation):
    """Gaussian noise on reals and fakes, so that their distributions overlap (Sonderby et al. 2017; Arjovsky & Bottou 2017).

    Args:
        sigma: standard deviation at the start, images being in [-1, 1].
        until: share of the training, in (0, 1], at which it has fallen linearly to 0.

    Raises:
        ValueError: a negative or infinite ``sigma``, or an ``until`` out of its range.
    """

    def __init__(self, sigma: float = 0.1, until: float = 1.0) -> None:
        super().__init__()
        if not 0.0 <= sigma < math.inf:
            raise ValueError(f"sigma={sigma}: must be a number of 0 or more")
        if not 0.0 < until <= 1.0:
            raise ValueError(f"until={until}: must lie in (0, 1], a share of the training")
        self.start, self.until = sigma, until
        self.sigma = sigma

    def set_progress(self, progress: float) -> None:
        self.sigma = self.start * max(0.0, 1.0 - progress / self.until)

    def forward(self, images: Tensor) -> Tensor:
        with full_precision(images) as images:
            # not randn_like, whose numbers depend on the memory format
            noise = torch.randn(images.shape, dtype=images.dtype, device=images.device)
            return images + self.sigma * noise


@contextmanager
def full_precision(images: Tensor) -> Iterator[Tensor]:
    """The images in float32 (float64 stays), autocast switched off: half precision would round colours and positions."""
    with torch.autocast(images.device.type, enabled=False):
        yield images.to(torch.promote_types(images.dtype, torch.float32))


def _uniform(images: Tensor, between: tuple[float, float]) -> Tensor:
    """A number for each image, ``[N, 1, 1, 1]``."""
    return images.new_empty(len(images), 1, 1, 1).uniform_(*between)


def _integers(images: Tensor, low: int, high: int) -> Tensor:
    """An integer for each image, ``[N, 1, 1, 1]`` int64, both ends possible."""
    return torch.randint(low, high + 1, (len(images), 1, 1, 1), device=images.device)


def _positions(images: Tensor, dim: int) -> Tensor:
    """0, 1, 2, ... along ``dim``, shaped to broadcast with the images."""
    return torch.arange(images.shape[dim], device=images.device).view([-1 if d == dim else 1 for d in range(4)])


def _range(name: str, between: tuple[float, float], least: float) -> tuple[float, float]:
    if len(between) != 2 or not -math.inf < between[0] <= between[1] < math.inf or between[0] < least:
        above = "" if least == -math.inf else f" of {least:g} or more"
        raise ValueError(f"{name}={list(between)}: must be two numbers{above}, the smaller one first")
    return between[0], between[1]


def _share(name: str, share: float) -> float:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{name}={share}: must lie in [0, 1], a share of height and width")
    return share
