"""The interface of feature networks, and helpers they share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class NetworkOutput(NamedTuple):
    """``features``: ``[N, num_features]`` float32; ``logits``: ``[N, num_classes]`` float32, or None."""

    features: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class FeatureDomain:
    """The kind of images that are scored.

    Attributes:
        name: of the dataset, unique for each folder; empty for images that belong to no dataset.
        channels: 1 for gray, 3 for color.
        size: height and width in pixels.
    """

    name: str
    channels: int
    size: int


class FeatureNetwork(nn.Module, ABC):
    """Computes features, and possibly class logits, of images; always in evaluation mode and without gradients.

    Attributes:
        name: suffix of the scores, such as ``random`` in ``fd_random``.
        num_features: features per image.
        num_classes: number of logits; 0 without a classification head.
        classes: names of the classes, if known.
        description: weights, input size and resizing, stored with the scores.
        fingerprint: 12 hexadecimal digits, equal for networks that compute equal features.
    """

    names: ClassVar[dict[str, str]] = {}
    """Established names of scores in these features, such as ``{"fd": "fid"}``."""

    name: str
    num_features: int
    num_classes: int = 0
    classes: tuple[str, ...] = ()
    description: str
    fingerprint: str

    @property
    def device(self) -> torch.device:
        """Where features are computed, and the metrics from them."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @abstractmethod
    def preprocess(self, images: Tensor) -> Tensor:
        """Resize and scale uint8 images ``[N, C, H, W]``, C = 1 or 3, of any size; returns the network's float input."""

    @abstractmethod
    def extract(self, values: Tensor) -> NetworkOutput:
        """Apply the network to preprocessed images."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> NetworkOutput:
        """Features and logits of uint8 images ``[N, C, H, W]``, C = 1 or 3, of any size."""
        return self.extract(self.preprocess(images))

    def score(self, metric: str) -> str:
        """Name of a score in these features: ``fd_random`` for ``fd``, or its established name."""
        return self.names.get(metric, f"{metric}_{self.name}")


class FeatureSource(ABC):
    """Loads a feature network. Creating the source is cheap; loading the network may take seconds or a download.

    Attributes:
        backbone: name of the network if training may use it too, such as ``lite0``; empty for others.
    """

    backbone: str = ""

    @abstractmethod
    def is_available(self, domain: FeatureDomain) -> bool:
        """Whether the network suits such images and can be loaded without a download."""

    @abstractmethod
    def load(self, domain: FeatureDomain) -> FeatureNetwork:
        """Load the network, downloading its weights if necessary; the state of torch's global generator is preserved.

        Raises:
            ValueError: the network is not available or not for such images; the message says what to do.
        """


def extract_batch(network: FeatureNetwork, images: Tensor) -> NetworkOutput:
    """Apply a network to uint8 images in full float32: TF32, which training may have enabled, would change the features."""
    if not images.is_cuda:
        return network(images)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        return network(images)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def fingerprint(network: nn.Module, *settings: object) -> str:
    """Hash of a network's weights and of other settings that its features depend on, 12 hexadecimal digits."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
