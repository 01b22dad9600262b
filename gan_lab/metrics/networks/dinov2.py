"""DINOv2, whose features agree better with human judgment of image quality than those of Inception."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.metrics.networks.base import FeatureDomain, FeatureSource, NetworkOutput
from gan_lab.metrics.networks.resize import Preprocessing, resizing
from gan_lab.metrics.networks.weights import INSTEAD, Loaded, Pretrained, Published, Weights

SIZE = 224
PATCH = 14

ARCHITECTURES = {
    "vits14": "vit_small_patch14_dinov2",
    "vitb14": "vit_base_patch14_dinov2",
    "vitl14": "vit_large_patch14_dinov2",
}
"""timm's names of the networks, by Meta's."""


class VisionTransformer(Pretrained):
    """timm's network; the features are the class token after the last layer normalization: 384, 768 or 1024.

    Args:
        network: timm's network with its weights.
        weights: their origin.
        size: a key of :data:`ARCHITECTURES`.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.
    """

    def __init__(self, network: nn.Module, weights: Loaded, size: str, resize: str) -> None:
        prepare = Preprocessing.imagenet(resize, SIZE)
        super().__init__(weights.name(f"dinov2_{size}"), weights, prepare, f"DINOv2 {size}, class token")
        self.body = network
        self.num_features = int(network.num_features)  # type: ignore[arg-type]

    def forward_features(self, values: Tensor) -> NetworkOutput:
        return NetworkOutput(self.body(values), None)


class DINOv2Features(FeatureSource):
    """DINOv2 (Oquab et al. 2024); Stein et al. (2023) recommend its features for Fréchet distances, with ``size=vitl14``.

    Resized pixels are not rounded, as with ``--clean_resize`` in the authors' dgm-eval. Meta publishes no checksums, so the
    file's name alone identifies it; the checksum of the file used is stored with the scores.

    Args:
        folder: contains Meta's file, or receives the download.
        weights: path of another file; None: Meta's.
        size: a key of :data:`ARCHITECTURES`.
        resize: a key of :data:`~gan_lab.metrics.networks.resize.RESIZES`.

    Raises:
        ValueError: ``size`` or ``resize`` is unknown.
    """

    def __init__(self, folder: str, weights: str | None, size: str, resize: str) -> None:
        resizing(resize)
        if size not in ARCHITECTURES:
            raise ValueError(f"features.dinov2.size={size}: must be one of {', '.join(ARCHITECTURES)}")
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
        with torch.device("meta"):  # skips random initialization, which takes seconds and uses the global generator
            network = getattr(vision_transformer, ARCHITECTURES[self._size])(img_size=SIZE, num_classes=0)
        weights.fill(network, vision_transformer.checkpoint_filter_fn(_resize_positions(weights.state), network))
        return VisionTransformer(network, weights, self._size, self._resize).frozen()


def _resize_positions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Interpolate the position embeddings to images of ``SIZE`` pixels as Meta's code does: the grid is 0.1 too large.

    timm interpolates without that offset.
    """
    resized = dict(state)
    if "pos_embed" in resized:
        class_token, patches = resized["pos_embed"].float().split([1, resized["pos_embed"].shape[1] - 1], dim=1)
        old_size, new_size = round(patches.shape[1] ** 0.5), SIZE // PATCH
        if old_size != new_size:
            grid = patches.unflatten(1, (old_size, old_size)).permute(0, 3, 1, 2)
            grid = interpolate(grid, scale_factor=(new_size + 0.1) / old_size, mode="bicubic")
            patches = grid.permute(0, 2, 3, 1).flatten(1, 2)
        resized["pos_embed"] = torch.cat([class_token, patches], 1)
    return resized
