"""The network that Frechet inception distance, kernel inception distance and inception score are named after."""

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
"""Subtracted from values in [0, 255], and divided by: TensorFlow's, torch-fidelity's and clean-fid's; pytorch-fid's."""

PUBLISHED = Published(
    features="inception",
    names=["weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"],
    address="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256_prefix="6726825d",
)


class InceptionV3(Pretrained):
    """torch-fidelity's network, its layers in order: 2048 features of the last pooling, 1008 logits without their bias.

    Args:
        extractor: theirs, whose own forward pass is not used since it resizes in one way only.
        weights: those it has.
        resize: one of ``RESIZES``.
        scaling: one of ``SCALINGS``.
    """

    num_features = 2048
    num_classes = 1008

    def __init__(self, extractor: nn.Module, weights: Loaded, resize: str, scaling: str) -> None:
        middle = [SCALINGS[scaling]]
        prepare = Preprocessing(resize, SIZE, middle, middle)
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
    """With the published weights, and so the only one whose scores are called FID, KID and IS."""

    names: ClassVar[dict[str, str]] = {"fd": "fid", "kd": "kid", "classifier_score": "is"}


class InceptionFeatures(FeatureSource):
    """Inception-v3 of December 2015 (Szegedy et al. 2016) with the weights FID is defined by (Heusel et al. 2017).

    Args:
        folder: where the published file is looked for, or downloaded to.
        weights: another file, whose scores have other names unless it is the same; None is the published one.
        resize: one of ``RESIZES``.
        scaling: one of ``SCALINGS``.

    Raises:
        ValueError: no such resizing or scaling.
    """

    def __init__(self, folder: str, weights: str | None, resize: str, scaling: str) -> None:
        resizing(resize)
        if scaling not in SCALINGS:
            raise ValueError(f"features.inception.scaling={scaling} is none of {', '.join(SCALINGS)}")
        self._weights = Weights(PUBLISHED, folder, weights)
        self._resize, self._scaling = resize, scaling

    def is_available(self, domain: FeatureDomain) -> bool:
        return self._weights.are_available()

    def load(self, domain: FeatureDomain) -> InceptionV3:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        weights = self._weights.load()
        harmless = io.BytesIO()  # it would unpickle whatever the file holds, so it gets the tensors that were read from it
        torch.save(weights.state, harmless)
        harmless.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):
                extractor = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=harmless)
        except RuntimeError as error:
            raise weights.misfit(error) from error
        kind = PublishedInceptionV3 if weights.published else InceptionV3
        return kind(extractor, weights, self._resize, self._scaling).frozen()
