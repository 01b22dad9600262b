"""How labels enter a network, whatever its family.

Labels are ``[N, K]`` float, one-hot for classes and multi-hot for attributes; an embedding of them is the sum of the rows of
the labels set, so that both are served by one product.

A family asks a condition for parts while it builds itself; each condition here answers with what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_lab.models.layers import to_at_least_float32


class ConditionalModule(nn.Module):
    """A layer that is given the labels too: ``forward(maps, labels)``."""


class ConditionalSequential(nn.Sequential):
    """Layers one after the other, labels being passed to those that take them."""

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        for layer in self:
            maps = layer(maps, labels) if isinstance(layer, ConditionalModule) else layer(maps)
        return maps


# -- the generator -------------------------------------------------------------------------------------------------------


class GeneratorCondition:
    """No condition: the base of the others.

    Args:
        num_classes: length K of a label vector.

    Attributes:
        num_inputs: what it adds to the length of a latent vector.
    """

    def __init__(self, num_classes: int = 0) -> None:
        self.num_classes = num_classes
        self.num_inputs = 0

    def join(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """The generator's input."""
        return latents

    def norm(self, channels: int, kind: Callable[..., nn.Module] = nn.BatchNorm2d) -> nn.Module:
        """A normalisation layer; ``kind(channels, affine=False)`` must give one without scale and shift."""
        return kind(channels)

    def check(self, generator: nn.Module) -> None:
        """Raise ValueError if labels can't enter a ``generator`` built with this condition."""


class ConcatenatedLatents(GeneratorCondition):
    """The label vector is appended to the latent vector (Mirza & Osindero 2014)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.num_inputs = num_classes

    def join(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return torch.cat([latents, _given(labels, self.num_inputs)], 1)


class ConditionalNorms(GeneratorCondition):
    """Every hidden normalisation has a scale and a shift for each label (conditional batch norm, de Vries et al. 2017).

    In a family that normalises in another way (ProGAN's pixel norm) these follow its own normalisation.

    Args:
        num_classes: length K of a label vector.
        lr_multiplier: factor of the scales and shifts at run time, which under Adam multiplies their learning rate (as in
            StyleGAN's mapping network; with SGD its square does). The classes start equal and each learns from its own images
            alone: at 1, the published recipes' rate, that takes tens of thousands of steps.
    """

    def __init__(self, num_classes: int, lr_multiplier: float = 1.0) -> None:
        super().__init__(num_classes)
        if not lr_multiplier > 0:
            raise ValueError(f"lr_multiplier={lr_multiplier}: must be positive")
        self.lr_multiplier = lr_multiplier

    def norm(self, channels: int, kind: Callable[..., nn.Module] = nn.BatchNorm2d) -> nn.Module:
        return ConditionalNorm(kind(channels, affine=False), channels, self.num_classes, self.lr_multiplier)

    def check(self, generator: nn.Module) -> None:
        if not any(isinstance(module, ConditionalNorm) for module in generator.modules()):
            raise ValueError(
                "conditioning: this generator has no normalisation to condition; choose conditioning=concatenation"
            )


class ConditionalNorm(ConditionalModule):
    """``norm(x) * (1 + scale[label]) + shift[label]``; both start at 0 and learn ``lr_multiplier`` times as fast."""

    def __init__(self, norm: nn.Module, channels: int, num_classes: int, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.norm = norm
        self.lr_multiplier = lr_multiplier
        self.table = nn.Parameter(torch.zeros(num_classes, 2 * channels))

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        rows = _given(labels, len(self.table)) @ (self.table * self.lr_multiplier)
        scale, shift = rows.unflatten(1, (-1, *[1] * (maps.dim() - 2))).chunk(2, dim=1)
        return self.norm(maps) * (1 + scale) + shift


# -- the discriminator ---------------------------------------------------------------------------------------------------


class DiscriminatorCondition:
    """No condition: the base of the others.

    Args:
        num_classes: length K of a label vector.

    Attributes:
        num_planes: what it adds to the images' channels.
    """

    num_planes = 0

    def __init__(self, num_classes: int = 0) -> None:
        self.num_classes = num_classes

    def join(self, size: int) -> nn.Module:
        """A module ``(images, labels) -> images`` with ``num_planes`` more channels."""
        return _ImagesAlone()

    def head(self, num_features: int) -> nn.Module:
        """A module ``(pooled features, labels) -> (summand of the logits, class logits or None)``."""
        return _NothingMore()


class ConcatenatedPlane(DiscriminatorCondition):
    """Each label is a learnt picture; their sum is one more channel of the image."""

    num_planes = 1

    def join(self, size: int) -> nn.Module:
        return _LabelPlane(self.num_classes, size)


class Projection(DiscriminatorCondition):
    """The projection discriminator (Miyato & Koyama 2018, eq. 3): logit + <embedding of the labels, features>."""

    def head(self, num_features: int) -> nn.Module:
        return _ProjectionHead(self.num_classes, num_features)


class AuxiliaryClassifier(DiscriminatorCondition):
    """The discriminator also tells the labels (AC-GAN, Odena et al. 2017); terms of the conditioning train it to."""

    def head(self, num_features: int) -> nn.Module:
        return _ClassifierHead(self.num_classes, num_features)


class _ImagesAlone(nn.Module):
    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return images


class _LabelPlane(nn.Module):
    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Parameter(torch.randn(num_classes, size * size))

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        plane = (_given(labels, len(self.table)) @ self.table).view(-1, 1, self.size, self.size)
        factor = self.size // images.shape[-1]  # of a growing network; a mean of independent values is that much smaller
        return torch.cat([images, (avg_pool2d(plane, factor) * factor).to(images.dtype)], 1)


class _NothingMore(nn.Module):
    def forward(self, features: Tensor, labels: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
        return 0.0, None


class _ProjectionHead(nn.Module):
    def __init__(self, num_classes: int, num_features: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(num_classes, num_features, bias=False)
        nn.init.xavier_uniform_(self.embedding.weight)

    def forward(self, features: Tensor, labels: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
        embedding = self.embedding(_given(labels, self.embedding.in_features))
        return (to_at_least_float32(embedding) * to_at_least_float32(features)).sum(1), None


class _ClassifierHead(nn.Module):
    def __init__(self, num_classes: int, num_features: int) -> None:
        super().__init__()
        self.classify = nn.Linear(num_features, num_classes)
        nn.init.xavier_uniform_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)

    def forward(self, features: Tensor, labels: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
        return 0.0, to_at_least_float32(self.classify(features))


def _given(labels: Tensor | None, num_classes: int) -> Tensor:
    """The labels a conditional network can't do without.

    Raises:
        ValueError: there are none, or of another number of classes.
    """
    if labels is None or labels.dim() != 2 or labels.shape[1] != num_classes:
        found = "none" if labels is None else "x".join(map(str, labels.shape))
        raise ValueError(f"a conditional network needs labels [N, {num_classes}] and was given {found}")
    return labels
