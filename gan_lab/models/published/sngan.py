"""Weights of kwotsin/mimicry's SNGAN for the networks of :mod:`gan_lab.models.sngan`.

The generator upsamples bilinearly there (``upsample: bilinear``), and the discriminator has ``relu_shortcut: true``. mimicry's
other unconditional residual generators have the same layers: WGAN-GP, SSGAN, InfoMax-GAN. Their discriminators are others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from gan_lab.models.published.spectral_norm import rename_spectral_norm

GENERATOR = "block2.b1.running_mean"
DISCRIMINATOR = ("block1.c_sc.weight_u", "block1.c_sc.sn_u")
"""Tensors by which the two networks are recognized and told apart; those of PyTorch's spectral normalization and mimicry's."""

LAYERS = {"b1": "norm1", "b2": "norm2", "c1": "conv1", "c2": "conv2", "c_sc": "shortcut"}
"""The layers of a residual block."""


def recognizes(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is the state dict of one of the authors' networks."""
    return any(name in state for name in (GENERATOR, *DISCRIMINATOR))


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a generator or discriminator here, from that of one of the authors'."""
    name_of = _generator_name if GENERATOR in state else _discriminator_name
    return {name_of(name): values for name, values in rename_spectral_norm(state).items()}


def _generator_name(name: str) -> str:
    """For example, of three blocks, ``block2.c1.bias``: ``layers.2.conv1.bias``, ``c5.bias``: ``layers.7.bias``."""
    if block := _block(name):
        return f"layers.{block[0]}.{block[1]}"
    layer, _, kind = name.partition(".")
    number = int(layer[1:])
    return f"layers.{number - 1 if layer == 'l1' else number + 2 * layer.startswith('c')}.{kind}"


def _discriminator_name(name: str) -> str:
    """For example ``block1.c1.bias``: ``layers.0.conv1.bias``, ``l5.bias``: ``logit.1.bias``."""
    if block := _block(name):
        return f"layers.{block[0] - 1}.{block[1]}"
    return re.sub(r"^l\d+\.", "logit.1.", name)


def _block(name: str) -> tuple[int, str] | None:
    """Number of the residual block and the rest of the name, if it is in one."""
    found = re.match(r"block(\d+)\.(b1|b2|c1|c2|c_sc)\.(.+)", name)
    return (int(found[1]), f"{LAYERS[found[2]]}.{found[3]}") if found else None
