"""The shape of the two players, whatever the family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor, nn

from gan_lab.models.conditioning import DiscriminatorCondition, GeneratorCondition
from gan_lab.models.layers import to_at_least_float32


class DiscriminatorOutput(NamedTuple):
    """What a discriminator says of a batch of images.

    ``logits``: ``[N]``, or ``[N, H, W]`` of one that judges each pixel, at least float32, before any sigmoid; ``features``:
    ``[N, F]``, what they were read from;
    ``class_logits``: ``[N, K]`` of an auxiliary classifier, else None.
    """

    logits: Tensor
    features: Tensor
    class_logits: Tensor | None = None

    def select(self, part: slice) -> DiscriminatorOutput:
        """The same of some of the images."""
        return DiscriminatorOutput(*(None if values is None else values[part] for values in self))  # type: ignore[arg-type]


class Generator(nn.Module, ABC):
    """Latents ``[N, latent_size]``, and labels ``[N, K]`` if it is conditional, to images ``[N, C, H, W]`` in about [-1, 1].

    Those that enlarge pictures are given these instead: :class:`gan_lab.models.upscaler.Upscaler`.

    Labels are 0 and 1: one of K classes, or any number of K attributes.

    Attributes:
        normalises_latents: whether only the direction of a latent vector counts, so that truncating values changes nothing.
    """

    normalizes_latents = False

    def __init__(self, condition: GeneratorCondition) -> None:
        super().__init__()
        self.condition = condition

    @abstractmethod
    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Images from latents that labels may have been joined to."""

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        latents, labels = _to_param_dtype(self, latents), _to_param_dtype(self, labels)
        return self.synthesize(self.condition.join(latents, labels), labels)


class Discriminator(nn.Module, ABC):
    """Images, and labels ``[N, K]`` if it is conditional, to a :class:`DiscriminatorOutput`.

    A family provides :meth:`extract_features` and ``logit``, the last layer; how labels enter is the condition's affair.

    Args:
        condition: how labels enter. Its ``num_planes`` come in addition to the images' channels.
        size: of the images.
        num_features: channels of what :meth:`extract_features` returns.
    """

    logit: nn.Module

    def __init__(self, condition: DiscriminatorCondition, size: int, num_features: int) -> None:
        super().__init__()
        self.join = condition.join(size)
        self.head = condition.head(num_features)

    @abstractmethod
    def extract_features(self, images: Tensor) -> Tensor:
        """Images to features ``[N, F, h, w]`` or ``[N, F]``."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        labels = _to_param_dtype(self, labels)
        features = self.extract_features(self.join(images, labels))
        logits = to_at_least_float32(self.logit(features).flatten())
        pooled = features.flatten(2).sum(2) if features.dim() > 2 else features
        more, class_logits = self.head(pooled, labels)
        return DiscriminatorOutput(logits + more, features.flatten(1), class_logits)


def _to_param_dtype(network: nn.Module, values: Any) -> Any:
    """What is drawn in float32 for every precision, in the type of the weights."""
    return None if values is None else values.to(next(network.parameters()).dtype)


class ProgressiveNetwork(ABC):
    """A network that starts at a low resolution and grows.

    Attributes:
        size: side of its images at the moment.
        alpha: share of the newest layers in them, from 0 (just added) to 1 (faded in).
    """

    resolutions: list[int]
    resolution: int
    alpha: float

    def set_resolution(self, size: int, alpha: float) -> None:
        """Work at ``size``, one of ``sizes``, with the newest layers faded in by ``alpha``."""
        assert size in self.resolutions and 0.0 <= alpha <= 1.0, (size, alpha)
        self.resolution, self.alpha = size, alpha

    @property
    def level(self) -> int:
        """How many times the smallest size has been doubled."""
        return self.resolutions.index(self.resolution)

    def get_extra_state(self) -> dict[str, float]:
        """Goes with the weights: whoever loads them works at the resolution they have reached."""
        return {"size": self.resolution, "alpha": self.alpha}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.set_resolution(int(state["size"]), state["alpha"])
