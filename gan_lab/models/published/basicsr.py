"""Weights of BasicSR's discriminators for those of :mod:`gan_lab.models.srgan`, with ``unit_range=true``.

BasicSR's generators ``MSRResNet`` and ``RRDBNet`` have the names of those here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from gan_lab.models.published.spectral_norm import rename_spectral_norm

VGG, UNET = "conv0_1.weight", "conv8.weight_orig"
"""Tensors by which the two networks are recognized and told apart."""

UNET_LAYERS = ["first", "down.0", "down.1", "down.2", "up.0", "up.1", "up.2", "last.0", "last.1", "logit"]
"""The layers here that correspond to ``conv0`` to ``conv9``."""


def recognizes(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is the state dict of one of BasicSR's discriminators."""
    return VGG in state or UNET in state


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a discriminator here, from that of one of BasicSR's."""
    if UNET in state:
        return {
            re.sub(r"^conv(\d)\.", lambda found: f"{UNET_LAYERS[int(found[1])]}.", name): values
            for name, values in rename_spectral_norm(state).items()
        }
    convs = sum(bool(re.fullmatch(r"conv\d_\d\.weight", name)) for name in state)
    return {_vgg_name(name, convs): values for name, values in state.items()}


def _vgg_name(name: str, convs: int) -> str:
    """For example ``conv0_1.bias``: ``layers.2.bias``, ``bn0_1.bias``: ``layers.3.bias``, ``linear2.bias``: ``logit.bias``."""
    layer, _, kind = name.partition(".")
    if layer == "linear2":
        return f"logit.{kind}"
    if layer == "linear1":
        return f"layers.{3 * convs}.{kind}"
    norm, level, number = re.fullmatch(r"(conv|bn)(\d)_(\d)", layer).groups()  # type: ignore[union-attr]
    position = 2 * int(level) + int(number)  # of the convolution
    return f"layers.{max(3 * position - 1, 0) + (norm == 'bn')}.{kind}"
