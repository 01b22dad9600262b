"""Names of spectrally normalized layers, in PyTorch's and in other implementations."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor


def rename_spectral_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose spectrally normalized layers have the names and shapes of this project's.

    ``torch.nn.utils.spectral_norm`` and mimicry's own layers are recognized. In training mode the outputs are the same. PyTorch
    normalizes in evaluation mode by the last vectors of training, this project by those after one more power iteration.
    """
    normalized = {name.rpartition(".")[0] for name in state if re.search(r"\.(weight|sn)_u$", name)}
    dropped = ("weight_v", "sn_sigma")
    return {
        _rename(name, normalized): values.flatten() if name.endswith(".sn_u") else values
        for name, values in state.items()
        if not name.endswith(dropped)
    }


def _rename(name: str, normalized: set[str]) -> str:
    layer, _, kind = name.rpartition(".")
    if layer not in normalized or kind == "bias":
        return name
    return f"{layer}.parametrizations.weight." + ("0.u" if kind.endswith("_u") else "original")
