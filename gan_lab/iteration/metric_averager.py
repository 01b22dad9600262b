"""Means of metrics between two readings, kept on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.runtime.distributed import SingleProcess


class MetricAverager:
    """Sums metric tensors on the device; only reading the means waits for it.

    Args:
        device: where a loaded state goes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, processes: SingleProcess) -> dict[str, float]:
        """Means since the last reading, over all processes, in one transfer; the sums start again at zero."""
        if not self._sums:
            return {}
        sums = torch.stack([value.float() for value in self._sums.values()])
        processes.all_reduce_mean_([sums])
        means = {name: total / self._counts[name] for name, total in zip(self._sums, sums.tolist(), strict=True)}
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums = {name: value.to(self._device) for name, value in state["sums"].items()}
        self._counts = dict(state["counts"])
