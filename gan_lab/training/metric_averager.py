"""Means of figures between two readings, kept on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.runtime.distributed import SingleProcess


class MetricAverager:
    """Adds tensors as they come and waits for the device only when read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        for name, value in figures.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, ranks: SingleProcess) -> dict[str, float]:
        """The means since the last reading, over all processes, in one transfer; starts anew."""
        if not self._sums:
            return {}
        sums = torch.stack([value.float() for value in self._sums.values()])
        ranks.all_reduce_mean_([sums])
        means = {name: total / self._counts[name] for name, total in zip(self._sums, sums.tolist(), strict=True)}
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._counts = dict(state["counts"])
