"""DINOv2, whose features follow people's judgement of fidelity closer than Inception's do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.metrics.networks.base import FeatureDomain, FeatureSource, NetworkOutput
from gan_lab.metrics.networks.resize import IMAGENET_DEVIATION, IMAGENET_MEAN, Preprocessing, resizing
from gan_lab.metrics.networks.weights import INSTEAD, Loaded, Pretrained, Published, Weights

SIZE = 224
PATCH = 14

ARCHITECTURES = {
    "vits14": "vit_small_patch14_dinov2",
    "vitb14": "vit_base_patch14_dinov2",
    "vitl14": "vit_large_patch14_dinov2",
}
"""By Meta's names, timm's."""


class VisionTransformer(Pretrained):
    """timm's network, its class token after the last normalisation: 384, 768 or 1024 features.

    Args:
        network: theirs.
        weights: those it has.
        size: one of ``ARCHITECTURES``.
        resize: one of ``RESIZES``.
    """

    def __init__(self, network: nn.Module, weights: Loaded, size: str, resize: str) -> None:
        prepare = Preprocessing(resize, SIZE, IMAGENET_MEAN, IMAGENET_DEVIATION)
        super().__init__(weights.name(f"dinov2_{size}"), weights, prepare, f"DINOv2 {size}, class token")
        self.body = network
        self.num_features = int(network.num_features)  # type: ignore[arg-type]

    def forward_features(self, values: Tensor) -> NetworkOutput:
        return NetworkOutput(self.body(values), None)


class DINOv2Features(FeatureSource):
    """DINOv2 (Oquab et al. 2024), in whose features Stein et al. (2023) recommend to take distances, with ``size=vitl14``.

    Their dgm-eval rounds resized pixels unless told ``--clean_resize``; these are not rounded. Meta publish no checksum, so a
    file of the right name is believed; the description of the scores has its own.

    Args:
        folder: where Meta's file is looked for, or downloaded to.
        weights: another file; None is the published one.
        size: one of ``ARCHITECTURES``.
        resize: one of ``RESIZES``.

    Raises:
        ValueError: no such size or resizing.
    """

    def __init__(self, folder: str, weights: str | None, size: str, resize: str) -> None:
        resizing(resize)
        if size not in ARCHITECTURES:
            raise ValueError(f"features.dinov2.size={size} is none of {', '.join(ARCHITECTURES)}")
        file = f"dinov2_{size}_pretrain.pth"
        published = Published("dinov2", [file], f"https://dl.fbaipublicfiles.com/dinov2/dinov2_{size}/{file}", None)
        self._weights, self._size, self._resize = Weights(published, folder, weights), size, resize

    def is_available(self, domain: FeatureDomain) -> bool:
        return find_spec("timm") is not None and self._weights.are_available()

    def load(self, domain: FeatureDomain) -> VisionTransformer:
        try:
            from timm.models import vision_transformer
        except ModuleNotFoundError as error:
            raise ValueError(
                f"evaluation.features=dinov2 needs the package timm: pip install 'gan_lab[dinov2]'; {INSTEAD}"
            ) from error
        weights = self._weights.load()
        with torch.device("meta"):  # no random weights, which would cost seconds and the global generator's state
            network = getattr(vision_transformer, ARCHITECTURES[self._size])(img_size=SIZE, num_classes=0)
        weights.fill(network, vision_transformer.checkpoint_filter_fn(_fitted(weights.state), network))
        return VisionTransformer(network, weights, self._size, self._resize).frozen()


def _fitted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With positions for ``SIZE`` pixels, interpolated as Meta's network does and timm does not: 0.1 too wide."""
    fitted = dict(state)
    if "pos_embed" in fitted:
        first, rest = fitted["pos_embed"].float().split([1, fitted["pos_embed"].shape[1] - 1], dim=1)
        side, wanted = round(rest.shape[1] ** 0.5), SIZE // PATCH
        if side != wanted:
            square = rest.unflatten(1, (side, side)).permute(0, 3, 1, 2)
            square = interpolate(square, scale_factor=(wanted + 0.1) / side, mode="bicubic")
            rest = square.permute(0, 2, 3, 1).flatten(1, 2)
        fitted["pos_embed"] = torch.cat([first, rest], 1)
    return fitted
