"""Averages metrics over training steps, on the device."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.runtime.distributed import SingleProcess


class MetricAverager:
    """Sums metrics in place on the device; only :meth:`read` synchronizes with it.

    Values that are not finite, as a step that is skipped can have, are left out of the mean, unless there are no others.

    Args:
        device: of the metrics.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._totals: dict[tuple[str, ...], Tensor] = {}
        """By the names of metrics that are added together: ``[3, N]``, the sums of the finite values, how many these are,
        and how many values there were."""

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add scalar tensors by name."""
        values = torch.stack(list(metrics.values()))
        is_finite = values.isfinite()
        names = tuple(metrics)
        if names not in self._totals:
            self._totals[names] = values.new_zeros(3, len(names))
        self._totals[names] += torch.stack(
            [values.masked_fill(~is_finite, 0.0), is_finite.to(values.dtype), torch.ones_like(values)]
        )

    def read(self, processes: SingleProcess) -> dict[str, float]:
        """Means since the last call over all processes, copied in one transfer; resets the sums."""
        if not self._totals:
            return {}
        totals = torch.cat([total.float() for total in self._totals.values()], dim=1)
        processes.all_reduce_mean_([totals])
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, float] = defaultdict(float)
        added: dict[str, float] = defaultdict(float)
        columns = zip(*totals.tolist(), strict=True)
        for names, total in self._totals.items():
            for name in names:
                value, count, additions = next(columns)
                sums[name] += value
                counts[name] += count
                added[name] += additions
            total.zero_()
        return {name: value / counts[name] if counts[name] else math.nan for name, value in sums.items() if added[name]}

    def state_dict(self) -> dict[str, Any]:
        return {"names": [list(names) for names in self._totals], "totals": [total.clone() for total in self._totals.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        totals = zip(state["names"], state["totals"], strict=True)
        self._totals = {tuple(names): _with_counts(total.to(self._device)) for names, total in totals}


def _with_counts(total: Tensor) -> Tensor:
    """The totals of a checkpoint; older ones have ``[N + 1]``, sums and one number of additions."""
    return total if total.dim() == 2 else torch.stack([total[:-1], *[total[-1].expand(len(total) - 1)] * 2])
