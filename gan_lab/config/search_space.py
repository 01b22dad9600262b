"""The search space of a sweep: the values of overrides that have several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.allowed_values import allowed_at, shown_value
from gan_lab.config.compose import BASE_CONFIG, is_group
from gan_lab.config.effects import check_effects
from gan_lab.config.resolve import resolve_and_validate
from gan_lab.config.stored_config import format_choice


def parse_overrides(overrides: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(overrides)


def as_typed(override: Override) -> str:
    """The override as typed."""
    return override.input_line or ""


def typed_value(override: Override) -> str:
    return as_typed(override).partition("=")[2]


def compose_all_values(overrides: list[str], space: Mapping[str, Override]) -> DictConfig:
    """Compose the n-th values of all searched keys together, for every n, so that every value is checked.

    Returns:
        The configuration with the first values.

    Raises:
        ValueError: a value does not compose.
    """
    composed: list[DictConfig] = []
    for n in range(max(len(values_of(override)) for override in space.values())):
        values = nth_values(space, n)
        try:
            cfg = compose(BASE_CONFIG, [*overrides, *values])
            check_effects(cfg, [*overrides, *values], [*overrides, *values])
            composed.append(resolve_and_validate(cfg, values))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            if missing := next((key for key in space if f"Could not override '{key}'" in str(error)), None):
                raise ValueError(f"{missing}: is searched, but with these options there is no such key") from error
            cause = f" ({error.__cause__})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
            message = f"{error}{cause}"
            is_about_values = n > 0 or any(key in message for key in space)
            raise ValueError(f"at {' '.join(values)}: {message}" if is_about_values else message) from error
    return composed[0]


def default_point(overrides: list[str], space: Mapping[str, Override]) -> tuple[dict[str, Any], list[str]]:
    """The configuration's own values of the searched keys: those in the search space, and those outside it, as overrides."""
    cfg = compose(BASE_CONFIG, overrides, return_hydra_config=True)
    found: dict[str, Any] = {}
    outside: list[str] = []
    for key, override in space.items():
        option = cfg.hydra.runtime.choices.get(key)
        value = OmegaConf.select(cfg, key) if option is None else option
        if override.is_interval_sweep():
            interval: Any = override.value()
            equal: list[Any] = [value] if isinstance(value, int | float) and interval.start <= value <= interval.end else []
        else:
            choices = override.sweep_iterator(transformer=Transformer.encode)
            equal = [choice for choice in choices if format_choice(choice) == format_choice(value)]
        if equal:
            found[key] = equal[0]
        else:
            outside.append(f"{key}={format_choice(value)}")
    return found, outside


def nth_values(space: Mapping[str, Override], n: int) -> list[str]:
    """Overrides with the n-th value of every key; a key with fewer values starts over."""
    return [f"{key}={values[n % len(values)]}" for key, override in space.items() for values in [values_of(override)]]


def values_of(override: Override) -> list[str]:
    """The values of a swept override; of an interval, its ends."""
    if override.is_interval_sweep():
        interval: Any = override.value()
        return [str(interval.start), str(interval.end)]
    return [str(value) for value in override.sweep_iterator(transformer=Transformer.encode)]


def check_values(space: Mapping[str, Override], has_sweep: bool) -> None:
    """Check each of several values on its own, without composing a configuration.

    Args:
        space: overrides with several values, by key.
        has_sweep: whether a sweep searches them; without one, each is trained.

    Raises:
        ValueError: a value is not allowed; an end of an interval is not finite, or the larger one comes first; or an interval
            is given without a sweep.
    """
    for key, override in space.items():
        typed = as_typed(override)
        if override.is_interval_sweep():
            interval: Any = override.value()
            if not has_sweep:
                raise ValueError(f"{typed}: only a sweep searches an interval; add sweep=quality, or list values: {key}=a,b")
            if not (math.isfinite(interval.start) and math.isfinite(interval.end) and interval.start < interval.end):
                raise ValueError(f"{typed}: the ends must be finite numbers, the smaller one first")
        elif (allowed := allowed_at(key)) is not None and not is_group(key):
            for value in override.sweep_iterator():
                if not allowed.accepts(value):
                    raise ValueError(f"{typed}: {key}={shown_value(value)} must be {allowed}")


def check_grid(space: Mapping[str, Override]) -> None:
    for key, override in space.items():
        if not override.is_choice_sweep():
            raise ValueError(f"{as_typed(override)}: a grid needs a list of values; use {key}=choice(...)")
