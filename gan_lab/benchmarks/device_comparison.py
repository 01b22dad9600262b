"""Compares the runs of ``benchmark=device``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gan_lab.training.trainer import Trainer

MAX_DIFFERENCE = 0.05
"""Largest relative difference of a weight tensor between two runs that use nondeterministic algorithms."""


def check_finite(trainer: Trainer) -> None:
    """Raise RuntimeError if a weight or buffer of a network is not finite."""
    updater = trainer.updater
    networks = {"generator": updater.gan.generator, "discriminator": updater.gan.discriminator, "EMA": updater.ema.network}
    for network, module in networks.items():
        for name, value in tensors(module.state_dict()):
            if value.is_floating_point() and not value.isfinite().all():
                raise RuntimeError(f"{name} of the {network} is not finite")


@dataclass
class Trained:
    """What a run ended with.

    Attributes:
        state: every tensor of the updater's state, on the CPU, by path.
        metrics: means over all steps.
    """

    state: dict[str, Tensor]
    metrics: dict[str, float]

    @classmethod
    def of(cls, trainer: Trainer) -> Trained:
        """Of a trainer, whose metrics are read; raises RuntimeError if a weight or metric is not finite."""
        check_finite(trainer)
        metrics = trainer.updater.averager.read(trainer.processes)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise RuntimeError(f"the metric {name} is {value}")
        return cls({path: value.detach().cpu().clone() for path, value in tensors(trainer.updater.state_dict())}, metrics)


def tensors(values: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of nested state with their paths."""
    if isinstance(values, Tensor):
        yield path, values
    elif isinstance(values, dict | list | tuple):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from tensors(value, f"{path}.{key}".lstrip("."))


def describe_differences(
    one: Trained, other: Trained, exact: bool, largest: float = MAX_DIFFERENCE, compare_metrics: bool = True
) -> str:
    """Compare two runs.

    Args:
        one, other: the runs.
        exact: whether every bit has to be the same.
        largest: if not, the largest allowed relative difference of a tensor of weights.
        compare_metrics: whether their metrics have to be the same too; a resumed run has those of its last part.

    Raises:
        RuntimeError: they differ by more than that.
    """
    if one.state.keys() != other.state.keys():
        raise RuntimeError(f"states with different entries: {', '.join(sorted(one.state.keys() ^ other.state.keys())[:3])}")
    different = {path: _relative_difference(value, other.state[path]) for path, value in one.state.items()}
    different = {path: value for path, value in different.items() if value > 0}
    metrics = [name for name, value in one.metrics.items() if compare_metrics and value != other.metrics.get(name)]
    if not different and not metrics:
        return "identical"
    path = max(different, key=different.__getitem__, default="")
    found = f"{len(different)} of {len(one.state)} tensors differ, {path} most: {different[path]:.1e} relative" if path else ""
    if exact:
        raise RuntimeError(found or f"metrics differ: {', '.join(metrics[:3])}")
    weights = {path: value for path, value in different.items() if path.startswith(("generator.", "discriminator."))}
    worst = max(weights.values(), default=0.0)
    if worst > largest:
        raise RuntimeError(found)
    return f"differ by at most {worst:.1e} (relative, of a weight tensor)"


def _relative_difference(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return math.inf
    if torch.equal(one, other):
        return 0.0
    norm = float(one.double().norm())
    return float((one.double() - other.double()).norm()) / norm if norm else math.inf
