"""Reads a command line with ``-m`` before Hydra starts, so that mistakes are reported once and not by every run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.compose import BASE_CONFIG, hydra_compose
from gan_lab.config.resolve import resolve_and_validate
from gan_lab.config.stored_config import flatten_config, format_choice

NOT_COMPARED = (
    "study",
    "pruner",
    "console",
    "tracker",
    "paths",
    "device",
    "num_threads",
    "dataset.path",
    "dataset.root",
    "dataset.num_workers",
)
"""Keys and sections in which workers of one study may differ, because they do not change a trial's results."""


DERIVED_SWEEPER_KEYS = {
    "hydra.sweeper.n_trials": "study.trials",
    "hydra.sweeper.storage": "study.storage",
    "hydra.sweeper.study_name": "study.name",
}
"""Keys of Hydra's sweeper that are set from other keys, by the key they are set from."""


@dataclass(frozen=True)
class MultirunSpec:
    """A command line with ``-m``.

    Attributes:
        folder: the folder of its runs.
        arguments: the command line for Hydra.
        search: the search of a sweep, or None if every combination is run.
        runs: number of combinations; None for a search.
    """

    folder: Path
    arguments: list[str]
    search: SweepSpec | None
    runs: int | None = None


@dataclass(frozen=True)
class SweepSpec:
    """The search of a sweep.

    Attributes:
        cfg: the configuration with the first value of every searched key.
        trials: number of trials of the study; of a grid, at most its number of points.
        objective: names of the minimized metrics.
        space: the searched keys with their values or intervals, as typed on the command line.
        fixed: all other values, by dotted key.
        default: the configuration's own value of every searched key; empty if one of them is outside the search space, and for
            a grid, which reaches it anyway.
        outside: the configuration's own values that are outside the search space, as overrides.
        seed: the sampler's, or None for the configuration's.
        takes_seed: whether the sampler is random.
    """

    cfg: DictConfig
    trials: int
    objective: list[str]
    space: dict[str, str]
    fixed: dict[str, Any]
    default: dict[str, Any]
    outside: list[str]
    seed: int | None
    takes_seed: bool


def read_multirun(arguments: Sequence[str]) -> MultirunSpec | None:
    """Read a command line; None if it asks for a single run or for information.

    Raises:
        ValueError: a value in the search space does not compose, or the study is not well defined.
    """
    parsed = get_args_parser().parse_args(list(arguments))
    if not parsed.multirun or parsed.cfg or parsed.info is not None or parsed.hydra_help or parsed.shell_completion:
        return None
    flags = [argument for argument in arguments if argument not in parsed.overrides]
    with hydra_compose():
        overrides = _parse(parsed.overrides)
        fixed = [_line(override) for override in overrides if not override.is_sweep_override()]
        if parsed.config_dir:
            fixed.append(f"hydra.searchpath=['file://{Path(parsed.config_dir).absolute()}']")
        swept = {o.get_key_element(): o for o in overrides if o.is_sweep_override()}
        first = compose(BASE_CONFIG, [*fixed, *_nth_values(swept, 0)], return_hydra_config=True)
        folder = Path(str(first.hydra.sweep.dir))
        if "optuna" not in str(first.hydra.sweeper._target_):
            seeds = _seed_overrides(first, swept)
            replaced = ("seeds", "seed") if seeds else ()
            kept = [_line(override) for override in overrides if override.get_key_element() not in replaced]
            runs = math.prod(len(_values(override)) for override in swept.values()) * first.seeds
            return MultirunSpec(folder, [*flags, *kept, *seeds, f"hydra.sweep.dir='{folder}'"], None, runs)
        if _is_grid(first):
            fixed_in_grid = [_as_single_choice(override, first.hydra.sweeper.params) for override in overrides]
            if fixed_in_grid != parsed.overrides:
                return read_multirun([*flags, *fixed_in_grid])
        return MultirunSpec(folder, list(arguments), _read_search(first, fixed, swept))


def _parse(overrides: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(overrides)


def _line(override: Override) -> str:
    """The override as typed."""
    return override.input_line or ""


def _typed_value(override: Override) -> str:
    return _line(override).partition("=")[2]


def _is_grid(cfg: DictConfig) -> bool:
    """Whether the sweep's sampler is a grid, the only one without a seed."""
    return "seed" not in cfg.hydra.sweeper.sampler


def _seed_overrides(cfg: DictConfig, swept: Mapping[str, Override]) -> list[str]:
    """Overrides that replace ``seeds=3 seed=5`` of a multirun without a sweep by ``seed=5,6,7``; empty for ``seeds=1``.

    Args:
        cfg: the configuration.
        swept: overrides with several values, by key.

    Raises:
        ValueError: ``seed`` has several values.
    """
    if cfg.seeds == 1:
        return []
    if "seed" in swept:
        raise ValueError(
            f"seeds={cfg.seeds}: can't be combined with {_line(swept['seed'])}; give a single seed, from which to count, or "
            "leave seeds out"
        )
    return ["seeds=1", "seed=" + ",".join(str(cfg.seed + n) for n in range(cfg.seeds))]


def _as_single_choice(override: Override, params: Mapping[str, str]) -> str:
    """An override that fixes a searched key, as a choice of one value: Hydra's sweeper can't remove the key from a grid."""
    if override.get_key_element() not in params or override.is_sweep_override():
        return _line(override)
    return f"{override.get_key_element()}=choice({_typed_value(override)})"


def _read_search(first: DictConfig, fixed: list[str], swept: Mapping[str, Override]) -> SweepSpec:
    """The search of a sweep.

    Args:
        first: the configuration with the first value of every swept key, and Hydra's section.
        fixed: overrides with a single value.
        swept: overrides with several values, by key.
    """
    space, defaults = _search_space(first, fixed, swept)
    cfg = _compose_all_values([*fixed, *defaults], space)
    _check_study_name(cfg)
    objective = _objectives(cfg, first.hydra.sweeper.direction)
    is_grid = _is_grid(first)
    if is_grid:
        _check_grid(space)
    default, outside = _default_point([*fixed, *defaults], space)
    points = math.prod(len(_values(override)) for override in space.values())
    return SweepSpec(
        cfg,
        min(cfg.study.trials, points) if is_grid else cfg.study.trials,
        objective,
        {key: _typed_value(override) for key, override in space.items()},
        {key: value for key, value in _compared_values(cfg).items() if key not in space},
        {} if is_grid or outside else default,
        [] if is_grid else outside,
        first.hydra.sweeper.sampler.get("seed"),
        not is_grid,
    )


def _search_space(first: DictConfig, fixed: list[str], swept: Mapping[str, Override]) -> tuple[dict[str, Override], list[str]]:
    """The searched keys of ``hydra.sweeper.params`` and of the command line, which has priority.

    Returns:
        The searched keys, and the params that have a single value, as overrides.

    Raises:
        ValueError: nothing is searched, or the command line sets a key that is derived from another.
    """
    named = {override.get_key_element() for override in _parse(fixed)}
    for key in DERIVED_SWEEPER_KEYS.keys() & named:
        raise ValueError(f"{key}: is set from {DERIVED_SWEEPER_KEYS[key]}; set that instead")
    params = [f"{key}={value}" for key, value in (first.hydra.sweeper.params or {}).items() if key not in named]
    parsed = {override.get_key_element(): override for override in _parse(params)} | dict(swept)
    space = {key: override for key, override in parsed.items() if override.is_sweep_override()}
    if not space:
        raise ValueError("hydra.sweeper.params: there is nothing to search; add for example 'optimizer.lr=interval(1e-4,1e-3)'")
    return space, [_line(override) for override in parsed.values() if not override.is_sweep_override()]


def _compose_all_values(overrides: list[str], space: Mapping[str, Override]) -> DictConfig:
    """Compose the n-th values of all searched keys together, for every n, so that every value is checked.

    Returns:
        The configuration with the first values.

    Raises:
        ValueError: a value does not compose.
    """
    composed: list[DictConfig] = []
    for n in range(max(len(_values(override)) for override in space.values())):
        values = _nth_values(space, n)
        try:
            composed.append(resolve_and_validate(compose(BASE_CONFIG, [*overrides, *values]), values))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            cause = f" ({error.__cause__})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
            raise ValueError(f"hydra.sweeper.params, at {' '.join(values)}: {error}{cause}") from error
    return composed[0]


def _check_study_name(cfg: DictConfig) -> None:
    if not isinstance(cfg.study.name, str) or not cfg.study.name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"study.name={cfg.study.name}: must consist of letters, digits, - and _")


def _objectives(cfg: DictConfig, direction: Any) -> list[str]:
    """Names of the minimized metrics.

    Raises:
        ValueError: the sweeper's ``direction`` is not ``minimize`` for each of them.
    """
    objective = [cfg.objective] if isinstance(cfg.objective, str) else list(cfg.objective or [])
    directions = list(direction) if OmegaConf.is_list(direction) else [direction]
    if len(directions) != len(objective) or any(getattr(d, "name", d) != "minimize" for d in directions):
        raise ValueError(
            f"objective=[{','.join(objective)}]: every objective is minimized, so hydra.sweeper.direction={direction} must be "
            f"[{','.join(['minimize'] * len(objective))}]"
        )
    return objective


def _check_grid(space: Mapping[str, Override]) -> None:
    for key, override in space.items():
        if not override.is_choice_sweep():
            raise ValueError(f"{_line(override)}: a grid needs a list of values; use {key}=choice(...)")


def _compared_values(cfg: DictConfig) -> dict[str, Any]:
    """The values, by dotted key, that must be the same for all workers of a study."""
    ignored = tuple(f"{key}." for key in NOT_COMPARED)
    return {key: value for key, value in flatten_config(cfg).items() if not f"{key}.".startswith(ignored)}


def _default_point(overrides: list[str], space: Mapping[str, Override]) -> tuple[dict[str, Any], list[str]]:
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


def _nth_values(space: Mapping[str, Override], n: int) -> list[str]:
    """Overrides with the n-th value of every key; a key with fewer values starts over."""
    return [f"{key}={values[n % len(values)]}" for key, override in space.items() for values in [_values(override)]]


def _values(override: Override) -> list[str]:
    """The values of a swept override; of an interval, its ends."""
    if override.is_interval_sweep():
        interval: Any = override.value()
        return [str(interval.start), str(interval.end)]
    return [str(value) for value in override.sweep_iterator(transformer=Transformer.encode)]
