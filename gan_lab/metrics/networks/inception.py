"""The Inception network that FID, KID and the Inception score are defined with."""

from __future__ import annotations

import io
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gan_lab.metrics.networks.base import FeatureDomain, FeatureSource, NetworkOutput
from gan_lab.metrics.networks.resize import Preprocessing, resizing
from gan_lab.metrics.networks.weights import Loaded, Pretrained, Published, Weights, fuse_conv_bn

SIZE = 299

SCALINGS = {"tensorflow1": 128.0, "unit": 127.5}
"""``s`` in ``(x - s) / s`` for pixels in [0, 255]: torch-fidelity and clean-fid use ``tensorflow1``, pytorch-fid ``unit``."""

PUBLISHED = Published(
    features="inception",
    names=["weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"],
    address="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256_prefix="6726825d",
)


class InceptionV3(Pretrained):
    """torch-fidelity's network: 2048 features of the last pooling layer, 1008 logits without bias.

    Args:
        extractor: torch-fidelity's network with its weights; only its layers are used, as its forward pass fixes the resizing.
        weights: their origin.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.
        scaling: a key of :data:`SCALINGS`.
    """

    num_features = 2048
    num_classes = 1008

    def __init__(self, extractor: nn.Module, weights: Loaded, resize: str, scaling: str) -> None:
        scale = [SCALINGS[scaling]]
        prepare = Preprocessing(resize, SIZE, scale, scale)
        super().__init__(weights.name("inception"), weights, prepare, "Inception-v3 of 2015-12-05")
        layers = dict(extractor.named_children())
        head = layers.pop("fc")
        assert isinstance(head, nn.Linear)
        self.head = head
        self.body = nn.Sequential(*layers.values(), nn.Flatten())
        fuse_conv_bn(self.body.eval(), [("conv", "bn")])

    def forward_features(self, values: Tensor) -> NetworkOutput:
        features = self.body(values)
        return NetworkOutput(features, linear(features, self.head.weight))


class PublishedInceptionV3(InceptionV3):
    """Inception with the published weights, the only network whose scores are called ``fid``, ``kid`` and ``is``."""

    names: ClassVar[dict[str, str]] = {"fd": "fid", "kd": "kid", "classifier_score": "is"}


class InceptionFeatures(FeatureSource):
    """Inception-v3 of December 2015 (Szegedy et al. 2016) with the weights FID is defined by (Heusel et al. 2017).

    Args:
        folder: contains the published file, or receives the download.
        weights: path of another file, whose scores are not called ``fid`` unless its content is the published one; None: the
            published file.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.
        scaling: a key of :data:`SCALINGS`.

    Raises:
        ValueError: ``resize`` or ``scaling`` is unknown.
    """

    def __init__(self, folder: str, weights: str | None, resize: str, scaling: str) -> None:
        resizing(resize)
        if scaling not in SCALINGS:
            raise ValueError(f"features.inception.scaling={scaling}: must be one of {', '.join(SCALINGS)}")
        self._weights = Weights(PUBLISHED, folder, weights)
        self._resize, self._scaling = resize, scaling

    def is_available(self, domain: FeatureDomain) -> bool:
        return self._weights.are_available()

    def load(self, domain: FeatureDomain) -> InceptionV3:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        weights = self._weights.load()
        buffer = io.BytesIO()  # the extractor unpickles arbitrary objects, so it gets only the tensors read from the file
        torch.save(weights.state, buffer)
        buffer.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):
                extractor = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=buffer)
        except RuntimeError as error:
            raise weights.mismatch(error) from error
        cls = PublishedInceptionV3 if weights.published else InceptionV3
        return cls(extractor, weights, self._resize, self._scaling).frozen()
