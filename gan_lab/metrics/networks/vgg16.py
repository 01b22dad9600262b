"""VGG-16, the network that improved precision and recall are published with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import VGG, vgg16

from gan_lab.metrics.networks.base import FeatureDomain, FeatureSource, NetworkOutput
from gan_lab.metrics.networks.resize import Preprocessing, resizing
from gan_lab.metrics.networks.weights import Loaded, Pretrained, Published, Weights

SIZE = 224

PUBLISHED = Published(
    features="vgg16",
    names=["vgg16-397923af.pth"],
    address="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256_prefix="397923af",
)


class VggNetwork(Pretrained):
    """torchvision's VGG-16 up to the second fully connected layer and its ReLU: 4096 features, torch-fidelity's ``fc2_relu``.

    Args:
        network: torchvision's network with its weights.
        weights: their origin.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.
    """

    num_features = 4096

    def __init__(self, network: VGG, weights: Loaded, resize: str) -> None:
        super().__init__(weights.name("vgg16"), weights, Preprocessing.imagenet(resize, SIZE), "VGG-16, second dense layer")
        self.body = nn.Sequential(network.features, network.avgpool, nn.Flatten(), network.classifier[:5])

    def forward_features(self, values: Tensor) -> NetworkOutput:
        return NetworkOutput(self.body(values), None)


class VGG16Features(FeatureSource):
    """VGG-16 (Simonyan & Zisserman 2015), in whose features precision and recall are published (Kynkaanniemi et al. 2019).

    Args:
        folder: contains torchvision's file, or receives the download.
        weights: path of another file; None: torchvision's.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.

    Raises:
        ValueError: ``resize`` is unknown.
    """

    def __init__(self, folder: str, weights: str | None, resize: str) -> None:
        resizing(resize)
        self._weights, self._resize = Weights(PUBLISHED, folder, weights), resize

    def is_available(self, domain: FeatureDomain) -> bool:
        return self._weights.are_available()

    def load(self, domain: FeatureDomain) -> VggNetwork:
        weights = self._weights.load()
        with torch.device("meta"):  # skips random initialization, which takes seconds and uses the global generator
            network = vgg16()
        weights.fill(network)
        return VggNetwork(network, weights, self._resize).frozen()
