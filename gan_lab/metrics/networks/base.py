"""What every feature network has in common."""

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
    """What images a score is about.

    Attributes:
        name: of the data set, one folder's being another's neither; empty for pictures of nowhere.
        channels: 1 grey, 3 colour.
        size: height and width in pixels.
    """

    name: str
    channels: int
    size: int


class FeatureNetwork(nn.Module, ABC):
    """From images to features. In evaluation mode and without gradients, always.

    Attributes:
        name: in the names of the scores.
        num_features: of one image.
        num_classes: of the logits, 0 where there are none.
        classes: their names, where they are known.
        description: what a reader of a score must know: weights, input size, resizing.
        fingerprint: 12 hexadecimal digits; equal for networks that give equal features.
    """

    names: ClassVar[dict[str, str]] = {}
    """Scores that have a name of their own in these features, such as ``fd``: ``fid``."""

    name: str
    num_features: int
    num_classes: int = 0
    classes: tuple[str, ...] = ()
    description: str
    fingerprint: str

    @abstractmethod
    def preprocess(self, images: Tensor) -> Tensor:
        """uint8 images ``[N, C, H, W]``, C = 1 or 3 and any size, to the floats that go in: resized and scaled."""

    @abstractmethod
    def extract(self, values: Tensor) -> NetworkOutput:
        """The network itself."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> NetworkOutput:
        """uint8 images ``[N, C, H, W]``, C = 1 or 3 and any size, to what is extracted of them."""
        return self.extract(self.preprocess(images))

    def score(self, metric: str) -> str:
        """The name of a metric taken in these features: ``fd_random``."""
        return self.names.get(metric, f"{metric}_{self.name}")


class FeatureSource(ABC):
    """Where a feature network comes from; making one is cheap, loading the network is not."""

    @abstractmethod
    def is_available(self, domain: FeatureDomain) -> bool:
        """Whether the network can be had for such images at once, without a download."""

    @abstractmethod
    def load(self, domain: FeatureDomain) -> FeatureNetwork:
        """The network, downloaded if need be. Leaves torch's global random numbers as they are.

        Raises:
            ValueError: it can't be had, or is not for such images; the message says what to do.
        """


def extract_batch(network: FeatureNetwork, images: Tensor) -> NetworkOutput:
    """What a network makes of uint8 images, in whole float32: whatever the training allows, TF32 would be another network."""
    if not images.is_cuda:
        return network(images)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        return network(images)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def fingerprint(network: nn.Module, *more: object) -> str:
    """Of a network's weights and of what else decides its features."""
    digest = hashlib.sha256(repr(more).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def to_rgb(images: Tensor) -> Tensor:
    """Grey repeated to three channels."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
