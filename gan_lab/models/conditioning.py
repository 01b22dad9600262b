"""How labels enter the networks, independent of the family.

Labels are ``[N, K]`` float, one-hot for classes and multi-hot for attributes. An embedding of a label vector is the sum of the
table rows of its labels, so one matrix product serves both.

A network asks its condition for parts while it is constructed; each class here returns the parts for one way of conditioning.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gan_lab.models.layers import to_at_least_float32


class ConditionalModule(nn.Module):
    """A layer that also takes the labels: ``forward(maps, labels)``."""


class ConditionalSequential(nn.Sequential):
    """Layers in sequence; the labels are passed to those that take them."""

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        for layer in self:
            maps = layer(maps, labels) if isinstance(layer, ConditionalModule) else layer(maps)
        return maps


# -- the generator -------------------------------------------------------------------------------------------------------


class GeneratorCondition:
    """No conditioning of the generator; base class of the others.

    Args:
        num_classes: length K of a label vector.

    Attributes:
        num_inputs: number of values that :meth:`join` adds to a latent vector.
        num_labels: length of the label vectors that enter the generator; 0 if it is unconditional.
    """

    def __init__(self, num_classes: int = 0) -> None:
        self.num_classes = num_classes
        self.num_inputs = 0
        self.num_labels = 0

    def join(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """The generator's input, ``[N, latent_size + num_inputs]``."""
        return latents

    def norm(self, channels: int, make_norm: Callable[..., nn.Module] = nn.BatchNorm2d) -> nn.Module:
        """A normalization layer.

        Args:
            channels: of the maps to normalize.
            make_norm: returns the layer for a number of channels; with ``affine=False`` without scale and shift.
        """
        return make_norm(channels)

    def check(self, generator: nn.Module) -> None:
        """Raise ValueError if labels can't enter a ``generator`` built with this condition."""


class ConcatenatedLatents(GeneratorCondition):
    """The label vector is appended to the latent vector (Mirza & Osindero 2014)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.num_inputs = self.num_labels = num_classes

    def join(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return torch.cat([latents, require_labels(labels, self.num_inputs)], 1)


class EmbeddedLatents(GeneratorCondition, nn.Module):
    """A learned embedding of the labels is appended to the latent vector, as in R3GAN.

    Args:
        num_classes: length K of a label vector.
        size: length of the embedding.
    """

    def __init__(self, num_classes: int, size: int = 64) -> None:
        nn.Module.__init__(self)
        GeneratorCondition.__init__(self, num_classes)
        if size < 1:
            raise ValueError(f"size={size}: must be at least 1")
        self.num_inputs, self.num_labels = size, num_classes
        self.embedding = nn.Linear(num_classes, size, bias=False)
        nn.init.normal_(self.embedding.weight, 0.0, max(1, num_classes) ** -0.5)

    def join(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        embedding = self.embedding(require_labels(labels, self.num_classes))
        return torch.cat([latents, embedding.to(latents.dtype)], 1)


class ConditionalNorms(GeneratorCondition):
    """Every hidden normalization layer has a scale and a shift for each label (conditional batch norm, de Vries et al. 2017).

    In a family with another normalization (ProGAN's pixel norm) the scale and the shift follow that one; in one without any
    (R3GAN) they are the first layer of each stage.

    Args:
        num_classes: length K of a label vector.
        lr_multiplier: factor of the scales and shifts at run time. Under Adam it multiplies their learning rate, as in
            StyleGAN's mapping network; under SGD its square does. The classes start equal and each learns from its own images
            alone: at 1, the published rate, that takes tens of thousands of steps.
    """

    def __init__(self, num_classes: int, lr_multiplier: float = 1.0) -> None:
        super().__init__(num_classes)
        if not lr_multiplier > 0:
            raise ValueError(f"lr_multiplier={lr_multiplier}: must be positive")
        self.lr_multiplier = lr_multiplier
        self.num_labels = num_classes

    def norm(self, channels: int, make_norm: Callable[..., nn.Module] = nn.BatchNorm2d) -> nn.Module:
        return ConditionalNorm(make_norm(channels, affine=False), channels, self.num_classes, self.lr_multiplier)

    def check(self, generator: nn.Module) -> None:
        embeds = getattr(generator, "embeds_labels", False)
        if not embeds and not any(isinstance(module, ConditionalNorm) for module in generator.modules()):
            raise ValueError(
                "conditioning: this generator has no normalization to condition; choose conditioning=concatenation"
            )


class ConditionalNorm(ConditionalModule):
    """``norm(x) * (1 + scale[label]) + shift[label]``.

    Args:
        norm: normalization without scale and shift.
        channels: of the maps.
        num_classes: length K of a label vector.
        lr_multiplier: see :class:`ConditionalNorms`.
    """

    def __init__(self, norm: nn.Module, channels: int, num_classes: int, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.norm = norm
        self.lr_multiplier = lr_multiplier
        self.table = nn.Parameter(torch.zeros(num_classes, 2 * channels))  # weight clipping skips parameters named ``table``

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        rows = require_labels(labels, len(self.table)) @ (self.table * self.lr_multiplier)
        scale, shift = rows.unflatten(1, (-1, *[1] * (maps.dim() - 2))).chunk(2, dim=1)
        return self.norm(maps) * (1 + scale) + shift


# -- the discriminator ---------------------------------------------------------------------------------------------------


class DiscriminatorCondition:
    """No conditioning of the discriminator; base class of the others.

    Args:
        num_classes: length K of a label vector.

    Attributes:
        num_planes: number of channels that :meth:`join` adds to the images.
    """

    num_planes = 0

    def __init__(self, num_classes: int = 0) -> None:
        self.num_classes = num_classes

    def join(self, size: int) -> nn.Module:
        """A module ``(images, labels) -> images`` with ``num_planes`` more channels, for images of ``size`` pixels."""
        return _NoPlane()

    def head(self, num_features: int) -> nn.Module:
        """A module ``(pooled features, labels) -> (what is added to the logits, class logits or None)``."""
        return _NoHead()

    def logit(self, layer: nn.Module) -> nn.Module:
        """The network's last layer: ``layer``, or what stands in its place."""
        return layer


class ConcatenatedPlane(DiscriminatorCondition):
    """Each label has a learned plane of the images' size; the sum of an image's planes is one more input channel."""

    num_planes = 1

    def join(self, size: int) -> nn.Module:
        return _LabelPlane(self.num_classes, size)


class Projection(DiscriminatorCondition):
    """The projection discriminator (Miyato & Koyama 2018, eq. 3): logit + <embedding of the labels, features>.

    Args:
        num_classes: length K of a label vector.
        unconditional: whether the logit has the first summand, which does not depend on the labels; not so in R3GAN.
    """

    def __init__(self, num_classes: int = 0, unconditional: bool = True) -> None:
        super().__init__(num_classes)
        self.unconditional = unconditional

    def logit(self, layer: nn.Module) -> nn.Module:
        return layer if self.unconditional else _ZeroLogit()

    def head(self, num_features: int) -> nn.Module:
        return _ProjectionHead(self.num_classes, num_features)


class AuxiliaryClassifier(DiscriminatorCondition):
    """The discriminator also predicts the labels (AC-GAN, Odena et al. 2017); loss terms of the conditioning train it."""

    def head(self, num_features: int) -> nn.Module:
        return _ClassifierHead(self.num_classes, num_features)


class _NoPlane(nn.Module):
    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return images


class _LabelPlane(nn.Module):
    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Parameter(torch.randn(num_classes, size * size))  # weight clipping skips parameters named ``table``

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        plane = (require_labels(labels, len(self.table)) @ self.table).view(-1, 1, self.size, self.size)
        factor = self.size // images.shape[-1]  # above 1 while a network grows; averaging divides the standard deviation by it
        return torch.cat([images, (avg_pool2d(plane, factor) * factor).to(images.dtype)], 1)


class _NoHead(nn.Module):
    def forward(self, features: Tensor, labels: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
        return 0.0, None


class _ZeroLogit(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.new_zeros(len(features), 1)


class _ProjectionHead(nn.Module):
    def __init__(self, num_classes: int, num_features: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(num_classes, num_features, bias=False)
        nn.init.xavier_uniform_(self.embedding.weight)

    def forward(self, features: Tensor, labels: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
        embedding = self.embedding(require_labels(labels, self.embedding.in_features))
        return (to_at_least_float32(embedding) * to_at_least_float32(features)).sum(1), None


class _ClassifierHead(nn.Module):
    def __init__(self, num_classes: int, num_features: int) -> None:
        super().__init__()
        self.classify = nn.Linear(num_features, num_classes)
        nn.init.xavier_uniform_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)

    def forward(self, features: Tensor, labels: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
        return 0.0, to_at_least_float32(self.classify(features))


def require_labels(labels: Tensor | None, num_classes: int) -> Tensor:
    """``labels``, checked.

    Raises:
        ValueError: they are None or have another number of classes.
    """
    if labels is None or labels.dim() != 2 or labels.shape[1] != num_classes:
        found = "none" if labels is None else "x".join(map(str, labels.shape))
        raise ValueError(f"a conditional network needs labels [N, {num_classes}] and was given {found}")
    return labels


UNCONDITIONAL_GENERATOR = GeneratorCondition()
UNCONDITIONAL_DISCRIMINATOR = DiscriminatorCondition()
"""Default arguments of the networks; they have no state, so all networks can share them."""
