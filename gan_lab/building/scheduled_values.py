"""Builds the values that change during training, ``schedule.of``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab.building.phases import term_sections
from gan_lab.config import scheduled_entries
from gan_lab.iteration.capturable_optimizer import AdamWithTensorBetas
from gan_lab.iteration.ema import ExponentialMovingAverage, NoEMA
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.scheduled_value import CURVES, ScheduledValue

LIMITS = {".lr": (0.0, math.inf), ".betas": (0.0, 1.0 - 1e-9), "ema.kimg": (0.0, math.inf), ".ada.p": (0.0, 1.0)}
"""Smallest and largest values by the end of the argument's key; other arguments may have any finite value."""


def build_scheduled_values(
    cfg: DictConfig, gan: GAN, phases: Sequence[Phase], ema: ExponentialMovingAverage | NoEMA, images: int
) -> list[ScheduledValue]:
    """The values that ``schedule.of`` changes. Lengths are written into ``cfg``, so that a resume with more epochs keeps them.

    Args:
        cfg: the configuration.
        gan, phases, ema: their values can be scheduled.
        images: of the adversarial training; 0: nothing changes.

    Raises:
        ValueError: an argument can't change during training, or a value, length or curve is not valid.
    """
    assign = _assignable(cfg, gan, phases, ema)
    values = []
    for key, entry in scheduled_entries(cfg) if images else ():
        where = f"schedule.of.{key}"
        curve = entry.get("curve", "cosine")
        if curve not in CURVES:
            raise ValueError(f"{where}.curve={curve}: must be one of {', '.join(CURVES)}")
        if entry.get("kimg") is None:
            OmegaConf.update(entry, "kimg", images / 1000, force_add=True)
        if not isinstance(entry.kimg, int | float) or not 0 < entry.kimg < math.inf:
            raise ValueError(f"{where}.kimg={entry.kimg}: must be a positive number; null: the whole training")
        for argument in entry.sets:
            if argument["key"] not in assign:
                raise ValueError(f"{where}: {argument['key']} can't change during training; these can: {', '.join(assign)}")
            first, last = (list(v) if OmegaConf.is_list(v) else [v] for v in (argument["from"], argument["to"]))
            low, high = next((limits for end, limits in LIMITS.items() if argument["key"].endswith(end)), (-math.inf, math.inf))
            if wrong := [value for value in (*first, *last) if not (low <= value <= high and math.isfinite(value))]:
                raise ValueError(f"{where}: would set {argument['key']} to {wrong[0]}, which must lie in [{low:g}, {high:g}]")
            values.append(
                ScheduledValue(argument["key"], assign[argument["key"]], first, last, entry.kimg * 1000, CURVES[curve])
            )
    return values


def _assignable(
    cfg: DictConfig, gan: GAN, phases: Sequence[Phase], ema: ExponentialMovingAverage | NoEMA
) -> dict[str, Callable[[list[float]], None]]:
    """What sets each argument that can change during training, by key."""
    assign: dict[str, Callable[[list[float]], None]] = {}
    for phase, network in zip(phases, ("discriminator", "generator"), strict=True):
        assign[f"optimizer.{network}.lr"] = _single(phase.set_learning_rate)
        if isinstance(phase.optimizer, AdamWithTensorBetas):
            assign[f"optimizer.{network}.betas"] = phase.set_betas
        for name, key, _ in term_sections(cfg, network):
            assign[f"{key}.weight"] = _single(partial(phase.set_weight, name))
    if isinstance(ema, ExponentialMovingAverage):
        assign["ema.kimg"] = _single(ema.set_halflife)
    for name, setter in gan.augment.schedulable().items():
        assign[f"augment.{name}"] = _single(setter)
    return assign


def _single(setter: Callable[[float], Any]) -> Callable[[list[float]], None]:
    def assign(values: list[float]) -> None:
        setter(values[0])

    return assign
