"""Weights of facebookresearch/pytorch_GAN_zoo's ProGAN for the networks of :mod:`gan_lab.models.progan`, fully grown.

Differences of the authors' networks, which the converted weights contain:

- a layer is (convolution + bias) * sqrt(2 / fan in): their biases are scaled as well, and every layer has the gain sqrt(2);
- the minibatch standard deviation has the divisor n - 1, in groups of 4 consecutive images. It is the same here if a batch has
  4 images; in larger ones, a multiple of 4, the groups consist of others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

GENERATOR, DISCRIMINATOR = "groupScale0.0.weight", "groupScaleZero.0.weight"
"""Tensors by which the two networks are recognized and told apart."""

CONFIGURATION = "models.utils.config.BaseConfig"
"""The class of an object that the authors' files contain besides tensors."""

GROUP = 4
"""Images in a group of the minibatch standard deviation."""

GENERATOR_NAMES = {
    r"formatLayer": "start.1",
    r"groupScale0\.0": "start.5",
    r"scaleLayers\.(\d+)\.0": r"blocks.\1.1",
    r"scaleLayers\.(\d+)\.1": r"blocks.\1.4",
    r"toRGBLayers\.(\d+)": r"to_rgb.\1",
}
DISCRIMINATOR_NAMES = {
    r"fromRGBLayers\.(\d+)": r"from_rgb.\1.0",
    r"scaleLayers\.(\d+)\.0": r"blocks.\1.0",
    r"scaleLayers\.(\d+)\.1": r"blocks.\1.2",
    r"groupScaleZero\.0": "end.1",
    r"groupScaleZero\.1": "end.4",
    r"decisionLayer": "logit",
}
GAINS = {"start.1": math.sqrt(2) / 4, "to_rgb": 1.0, "logit": 1.0}
"""The gains here that are not sqrt(2)."""


def recognizes(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is the state dict of one of the authors' networks."""
    return any(_plain(str(name)) in (GENERATOR, DISCRIMINATOR) for name in state)


def convert(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state dict of a generator or discriminator here, from that of one of the authors'."""
    state = {_plain(name): values for name, values in state.items()}
    names = GENERATOR_NAMES if GENERATOR in state else DISCRIMINATOR_NAMES
    converted: dict[str, Any] = {}
    for layer in dict.fromkeys(name.rpartition(".")[0] for name in state):
        new = next((re.sub(old, new, layer) for old, new in names.items() if re.fullmatch(old, layer)), layer)
        weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
        gain = next((gain for start, gain in GAINS.items() if new.startswith(start)), math.sqrt(2))
        converted[f"{new}.weight"] = weight * (math.sqrt(2) / gain)
        converted[f"{new}.bias"] = bias * math.sqrt(2 / weight[0].numel())
    if DISCRIMINATOR in state:
        converted["end.1.weight"][:, -1] *= math.sqrt(GROUP / (GROUP - 1))  # weights of the minibatch standard deviation
    doublings = len({name.split(".")[1] for name in state if name.startswith("scaleLayers.")})
    return {**converted, "_extra_state": {"size": 4 << doublings, "alpha": 1.0}}


def _plain(name: str) -> str:
    """Without the wrapper around each layer, which early files do not have."""
    return name.replace(".module.", ".")
