"""Weights of NVIDIA's ``stylegan2-ada-pytorch`` for the networks of :mod:`gan_lab.models.stylegan2`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

GENERATOR, DISCRIMINATOR = "synthesis.b4.const", "b4.out.weight"
"""Tensors by which the two networks are recognized and told apart."""


def recognizes(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is the state dict of one of the authors' networks."""
    return GENERATOR in state or DISCRIMINATOR in state


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a generator or discriminator here, from that of one of the authors'."""
    names = [name for name in state if not name.endswith("resample_filter")]  # a constant
    if GENERATOR in state:
        return {_generator_name(name): state[name] for name in names}
    levels = max(_level(found[1]) for name in names if (found := re.match(r"b(\d+)\.", name)))
    conditional = "mapping.fc0.weight" in names
    return {_discriminator_name(name, levels, conditional): state[name] for name in names}


def _generator_name(name: str) -> str:
    """For example ``synthesis.b8.conv1.affine.bias``: ``blocks.1.1.conv.affine.bias``."""
    if name == "mapping.w_avg":
        return "style_average"
    if name == "synthesis.b4.const":
        return "const"
    if name.startswith("mapping."):
        return re.sub(r"\.fc(\d+)", r".layers.\1", name)
    _, block, layer, *rest = name.split(".")
    level = _level(block[1:])
    tail = ".".join(["conv", *rest] if rest[0] in ("affine", "weight") else rest).replace("noise_const", "noise")
    if layer == "torgb":
        return f"to_images.{level}.{tail}"
    return f"blocks.{level}.{int(layer[-1]) if level else 0}.{tail}"


def _discriminator_name(name: str, levels: int, conditional: bool) -> str:
    """For example, of a network for 32x32, ``b16.conv0.bias``: ``blocks.2.conv1.conv.bias``."""
    if name.startswith("mapping."):
        return "head." + re.sub(r"\.fc(\d+)", r".layers.\1", name)
    block, layer, kind = name.split(".")
    number = 1 + levels - _level(block[1:])
    layers = {
        "fromrgb": "blocks.0.conv",
        "conv0": f"blocks.{number}.conv1.conv",
        "conv1": f"blocks.{number}.conv2.conv",
        "skip": f"blocks.{number}.shortcut.1",
        "conv": "end.1.conv",
        "fc": "end.3",
        "out": "head.out" if conditional else "logit",
    }
    return f"{layers[layer]}.{kind}"


def _level(side: str) -> int:
    """Number of doublings from 4 pixels."""
    return (int(side) // 4).bit_length() - 1
