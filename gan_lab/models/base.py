"""Base classes of the networks: generator, discriminator, and networks that grow progressively."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_lab.models.conditioning import DiscriminatorCondition, GeneratorCondition
from gan_lab.models.layers import to_at_least_float32


class DiscriminatorOutput(NamedTuple):
    """What a discriminator returns for a batch of images.

    Attributes:
        logits: ``[N]``, ``[N, L]`` of a discriminator that classifies L patches, or ``[N, H, W]`` of one that classifies each
            pixel; at least float32, before any sigmoid.
        features: ``[N, F]``, the input of the layer that computes the logits.
        class_logits: ``[N, K]`` of an auxiliary classifier, else None.
    """

    logits: Tensor
    features: Tensor
    class_logits: Tensor | None = None

    def select(self, images: slice) -> DiscriminatorOutput:
        """The output for some of the images."""
        return DiscriminatorOutput(*(None if values is None else values[images] for values in self))  # type: ignore[arg-type]


class Generator(nn.Module, ABC):
    """Maps latents ``[N, latent_size]``, and labels ``[N, K]`` if conditional, to images ``[N, C, H, W]`` in about [-1, 1].

    A label vector holds 0 and 1: one-hot for one of K classes, multi-hot for K attributes. Super-resolution generators take
    low-resolution images instead of latents; see :class:`gan_lab.models.upscaler.Upscaler`.

    Attributes:
        normalizes_latents: whether only the direction of a latent vector matters, so that truncation has no effect.
        truncates_styles: whether truncation moves styles toward their average, see :meth:`truncate`; else it bounds latents.
        embeds_labels: whether labels enter through the family's own embedding, which every conditioning then uses.
    """

    normalizes_latents = False
    truncates_styles = False
    embeds_labels = False

    def __init__(self, condition: GeneratorCondition) -> None:
        super().__init__()
        self.condition = condition

    @abstractmethod
    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Images from latents, which the condition may have concatenated with labels."""

    def styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """What :meth:`render` takes: the latents themselves, or ``[N, L, style_size]`` of a family with a mapping network."""
        return to_param_dtype(self, latents)

    def render(self, styles: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images from styles."""
        labels = to_param_dtype(self, labels)
        return self.synthesize(self.condition.join(styles, labels), labels)

    def truncate(self, styles: Tensor, psi: float | Tensor) -> Tensor:
        """Styles moved toward their average: ``psi`` 1 changes nothing, 0 gives it (Karras et al. 2019, appendix B)."""
        raise ValueError(f"truncation={psi}: this generator has no styles")

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.render(self.styles(latents, labels), labels)


class Discriminator(nn.Module, ABC):
    """Maps images, and labels ``[N, K]`` if conditional, to a :class:`DiscriminatorOutput`.

    A family provides :meth:`extract_features` and ``logit``, the last layer, whose output is ``[N, 1]`` or a map of several
    logits; the condition decides how labels enter.

    Args:
        condition: how labels enter. Its ``num_planes`` come in addition to the images' channels.
        size: side of the images in pixels.
        num_features: channels of the output of :meth:`extract_features`.
    """

    logit: nn.Module

    def __init__(self, condition: DiscriminatorCondition, size: int, num_features: int) -> None:
        super().__init__()
        self.join = condition.join(size)
        self.head = condition.head(num_features)

    @abstractmethod
    def extract_features(self, images: Tensor) -> Tensor:
        """Features ``[N, F, h, w]`` or ``[N, F]`` of images."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        labels = to_param_dtype(self, labels)
        features = self.extract_features(self.join(images, labels))
        logits = to_at_least_float32(self.logit(features).flatten(1))
        pooled = features.flatten(2).sum(2) if features.dim() > 2 else features
        label_logits, class_logits = self.head(pooled, labels)
        logits = logits if isinstance(label_logits, float) else logits + label_logits[:, None]
        return DiscriminatorOutput(logits.squeeze(1), features.flatten(1), class_logits)


def to_param_dtype(network: nn.Module, values: Any) -> Any:
    """Latents and labels, which are float32 in every precision, in the type of the parameters."""
    return None if values is None else values.to(next(network.parameters()).dtype)


class ProgressiveNetwork(nn.Module, ABC):
    """A network that starts at a low resolution and grows (Karras et al. 2018).

    Attributes:
        resolutions: sides of images it can work at, in pixels, ascending.
        resolution: the current one.
        alpha: weight of the newest layers, from 0 (just added) to 1 (faded in).
        alpha_tensor: the same as a scalar on the device; a captured iteration reads its present value.
    """

    resolutions: list[int]
    resolution: int
    alpha: float
    alpha_tensor: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("alpha_tensor", torch.ones(()), persistent=False)

    def fade_in(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Interpolate, by ``alpha``, between the outputs of the previous layers and of the newest ones; at least float32.

        Types may differ: CUDA's autocast upsamples in float32 and convolves in half precision.
        """
        return torch.lerp(to_at_least_float32(coarse), to_at_least_float32(fine), self.alpha_tensor)

    def set_resolution(self, size: int, alpha: float) -> None:
        """Work at ``size``, one of ``resolutions``, with the newest layers weighted by ``alpha``."""
        assert size in self.resolutions and 0.0 <= alpha <= 1.0, (size, alpha)
        self.resolution, self.alpha = size, alpha
        self.alpha_tensor.fill_(alpha)

    @property
    def level(self) -> int:
        """Number of doublings from the lowest resolution to the current one."""
        return self.resolutions.index(self.resolution)

    def get_extra_state(self) -> dict[str, float]:
        """Part of the state dict, so that a network that loads the weights works at their resolution."""
        return {"size": self.resolution, "alpha": self.alpha}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.set_resolution(int(state["size"]), state["alpha"])
