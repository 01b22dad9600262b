"""Averages metrics over training steps, on the device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.runtime.distributed import SingleProcess


class MetricAverager:
    """Sums metrics in place on the device; only :meth:`read` synchronizes with it.

    Args:
        device: of the metrics.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._totals: dict[tuple[str, ...], Tensor] = {}
        """By the names of metrics that are added together: their sums, followed by the number of additions."""

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add scalar tensors by name."""
        values = torch.stack([*metrics.values(), torch.ones((), device=self._device)])
        names = tuple(metrics)
        if names not in self._totals:
            self._totals[names] = torch.zeros_like(values)
        self._totals[names] += values

    def read(self, processes: SingleProcess) -> dict[str, float]:
        """Means since the last call over all processes, copied in one transfer; resets the sums."""
        if not self._totals:
            return {}
        totals = torch.cat([total.float() for total in self._totals.values()])
        processes.all_reduce_mean_([totals])
        values = iter(totals.tolist())
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, float] = defaultdict(float)
        for names, total in self._totals.items():
            of_names = [next(values) for _ in names]
            count = next(values)
            for name, value in zip(names, of_names, strict=True):
                sums[name] += value
                counts[name] += count
            total.zero_()
        return {name: value / counts[name] for name, value in sums.items() if counts[name]}

    def state_dict(self) -> dict[str, Any]:
        return {"names": [list(names) for names in self._totals], "totals": [total.clone() for total in self._totals.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        totals = zip(state["names"], state["totals"], strict=True)
        self._totals = {tuple(names): total.to(self._device) for names, total in totals}
