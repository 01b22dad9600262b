"""Reads a command line with ``-m`` before Hydra starts, so that mistakes are reported once and not by every run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.compose import BASE_CONFIG, flatten_config, hydra_compose
from gan_lab.config.effects import check_study_keys
from gan_lab.config.path_arguments import quote
from gan_lab.config.resolvers import claiming_folders
from gan_lab.config.search_space import (
    as_typed,
    check_grid,
    check_values,
    compose_all_values,
    default_point,
    nth_values,
    parse_overrides,
    typed_value,
    values_of,
)
from gan_lab.config.stored_config import format_choice

NOT_COMPARED = (
    "study",
    "pruner",
    "console",
    "preview",
    "tracker",
    "paths",
    "device",
    "num_threads",
    "dataset.path",
    "dataset.root",
    "dataset.num_workers",
)
"""Keys and sections in which workers of one study may differ, because they do not change a trial's results."""


SWEEPER = "hydra_plugins.gan_lab_sweeper.StudySweeper"
"""The sweeper of the options in ``conf/sweep/``."""

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
        takes_constraints: whether the sampler looks at constraints.
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
    takes_constraints: bool


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
        overrides = parse_overrides(parsed.overrides)
        fixed = [as_typed(override) for override in overrides if not override.is_sweep_override()]
        if parsed.config_dir:
            fixed.append(f"hydra.searchpath=[{quote(f'file://{Path(parsed.config_dir).absolute()}')}]")
        swept = {o.get_key_element(): o for o in overrides if o.is_sweep_override()}
        first = compose(BASE_CONFIG, [*fixed, *nth_values(swept, 0)], return_hydra_config=True)
        if first.hydra.sweeper._target_ != SWEEPER:
            check_study_keys(fixed)
            check_values(swept, has_sweep=False)
            seeds = _seed_overrides(first, swept)
            replaced = ("seeds", "seed") if seeds else ()
            kept = [as_typed(override) for override in overrides if override.get_key_element() not in replaced]
            runs = math.prod(len(values_of(override)) for override in swept.values()) * first.seeds
            with claiming_folders():
                folder = Path(str(first.hydra.sweep.dir))
            return MultirunSpec(folder, [*flags, *kept, *seeds, f"hydra.sweep.dir={quote(str(folder))}"], None, runs)
        if _is_grid(first):
            fixed_in_grid = [_as_single_choice(override, first.hydra.sweeper.params) for override in overrides]
            if fixed_in_grid != parsed.overrides:
                return read_multirun([*flags, *fixed_in_grid])
        search = _read_search(first, fixed, swept)
        return MultirunSpec(Path(str(first.hydra.sweep.dir)), list(arguments), search)


def _is_grid(cfg: DictConfig) -> bool:
    """Whether the sweep's sampler is a grid."""
    return str(cfg.hydra.sweeper.sampler._target_).endswith(".GridSampler")


def _seed_overrides(cfg: DictConfig, swept: Mapping[str, Override]) -> list[str]:
    """Overrides that replace ``seeds=3 seed=5`` of a multirun without a sweep by ``seed=5,6,7``; empty for ``seeds=1``.

    Args:
        cfg: the configuration.
        swept: overrides with several values, by key.

    Raises:
        ValueError: ``seed`` has several values, or ``seeds`` is below 1.
    """
    if cfg.seeds == 1:
        return []
    if cfg.seeds < 1:
        raise ValueError(f"seeds={cfg.seeds}: must be at least 1")
    if "seed" in swept:
        raise ValueError(
            f"seeds={cfg.seeds}: can't be combined with {as_typed(swept['seed'])}; give a single seed, from which to count, or "
            "leave seeds out"
        )
    return ["seeds=1", "seed=" + ",".join(str(cfg.seed + n) for n in range(cfg.seeds))]


def _as_single_choice(override: Override, params: Mapping[str, str]) -> str:
    """An override that fixes a searched key, as a choice of one value: Hydra's sweeper can't remove the key from a grid."""
    if override.get_key_element() not in params or override.is_sweep_override():
        return as_typed(override)
    return f"{override.get_key_element()}=choice({typed_value(override)})"


def _read_search(first: DictConfig, fixed: list[str], swept: Mapping[str, Override]) -> SweepSpec:
    """The search of a sweep.

    Args:
        first: the configuration with the first value of every swept key, and Hydra's section.
        fixed: overrides with a single value.
        swept: overrides with several values, by key.
    """
    if first.plan:
        raise ValueError("plan=true: without -m it says what the whole sweep would cost")
    if (jobs := first.hydra.sweeper.get("n_jobs", 1)) < 1:
        raise ValueError(f"hydra.sweeper.n_jobs={jobs}: must be at least 1")
    space, defaults = _search_space(first, fixed, swept)
    check_values(space, has_sweep=True)
    cfg = compose_all_values([*fixed, *defaults], space)
    _check_study_name(cfg)
    objective = _objectives(cfg, first.hydra.sweeper.direction)
    is_grid = _is_grid(first)
    if is_grid:
        check_grid(space)
    default, outside = default_point([*fixed, *defaults], space)
    points = math.prod(len(values_of(override)) for override in space.values())
    return SweepSpec(
        cfg,
        min(cfg.study.trials, points) if is_grid else cfg.study.trials,
        objective,
        {key: typed_value(override) for key, override in space.items()},
        {key: value for key, value in _compared_values(cfg).items() if key not in space},
        {} if is_grid or outside else default,
        [] if is_grid else outside,
        first.hydra.sweeper.sampler.get("seed"),
        not is_grid,
        "constraints_func" in first.hydra.sweeper.sampler,
    )


def _search_space(first: DictConfig, fixed: list[str], swept: Mapping[str, Override]) -> tuple[dict[str, Override], list[str]]:
    """The searched keys of ``hydra.sweeper.params`` and of the command line, which has priority.

    Returns:
        The searched keys, and the params that have a single value, as overrides.

    Raises:
        ValueError: nothing is searched, or the command line sets a key that is derived from another.
    """
    named = {override.get_key_element() for override in parse_overrides(fixed)}
    for key in DERIVED_SWEEPER_KEYS.keys() & named:
        raise ValueError(f"{key}: is set from {DERIVED_SWEEPER_KEYS[key]}; set that instead")
    params = [f"{key}={value}" for key, value in (first.hydra.sweeper.params or {}).items() if key not in named]
    parsed = {override.get_key_element(): override for override in parse_overrides(params)} | dict(swept)
    space = {key: override for key, override in parsed.items() if override.is_sweep_override()}
    if not space:
        raise ValueError("hydra.sweeper.params: there is nothing to search; add for example 'optimizer.lr=interval(1e-4,1e-3)'")
    return space, [as_typed(override) for override in parsed.values() if not override.is_sweep_override()]


def _check_study_name(cfg: DictConfig) -> None:
    if not isinstance(cfg.study.name, str) or not cfg.study.name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"study.name={cfg.study.name}: must consist of letters, digits, - and _")


def _objectives(cfg: DictConfig, direction: Any) -> list[str]:
    """Names of the minimized metrics.

    Raises:
        ValueError: the sweeper's ``direction`` is not ``minimize`` for each of them.
    """
    objective = [cfg.objective] if isinstance(cfg.objective, str) else cfg.objective
    if not OmegaConf.is_list(objective) and not isinstance(objective, list):
        raise ValueError(
            f"objective={format_choice(objective)}: must be the name of a metric, such as score, or a list of names"
        )
    if not objective:
        raise ValueError("objective=[]: name what the sweep minimizes, such as objective=score")
    objective = [str(name) for name in objective]
    directions = list(direction) if OmegaConf.is_list(direction) else [direction]
    if len(directions) != len(objective) or any(getattr(d, "name", d) != "minimize" for d in directions):
        raise ValueError(
            f"objective=[{','.join(objective)}]: every objective is minimized, so hydra.sweeper.direction={direction} must be "
            f"[{','.join(['minimize'] * len(objective))}]"
        )
    return objective


def _compared_values(cfg: DictConfig) -> dict[str, Any]:
    """The values, by dotted key, that must be the same for all workers of a study."""
    ignored = tuple(f"{key}." for key in NOT_COMPARED)
    return {key: value for key, value in flatten_config(cfg).items() if value != {} and not f"{key}.".startswith(ignored)}
