"""What ``-m`` asks for, read before Hydra begins: what can't be is said before the first run, and not by each of them."""

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
"""What trials of one study may differ in, and nothing of their results: where they are made, and who is told."""


FILLED_IN = {
    "hydra.sweeper.n_trials": "study.trials",
    "hydra.sweeper.storage": "study.storage",
    "hydra.sweeper.study_name": "study.name",
}
"""Keys of Hydra's sweeper that are filled in, and what from."""


@dataclass(frozen=True)
class MultirunSpec:
    """A command line with ``-m``.

    Attributes:
        folder: of its runs.
        arguments: for Hydra.
        search: what is searched, or None where every combination is simply run.
    """

    folder: Path
    arguments: list[str]
    search: SweepSpec | None


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep looks for, and among what.

    Attributes:
        cfg: the configuration with the first of all choices.
        trials: the study is to have; of a grid at most its points.
        objective: names of what is minimised.
        space: what is chosen for each trial, by key, as the command line spells it.
        fixed: every other value, by dotted key.
        default: the configuration as it stands, where it is among the choices; else empty.
        seed: of the sampler, or None for that of the configuration.
        takes_seed: whether the sampler has any.
    """

    cfg: DictConfig
    trials: int
    objective: list[str]
    space: dict[str, str]
    fixed: dict[str, Any]
    default: dict[str, Any]
    seed: int | None
    takes_seed: bool


def read_multirun(arguments: Sequence[str]) -> MultirunSpec | None:
    """What a command line asks for, or None if it is one run or a question.

    Raises:
        ValueError: what is searched can't be composed, or no study can be made of it.
    """
    parsed = get_args_parser().parse_args(list(arguments))
    if not parsed.multirun or parsed.cfg or parsed.info is not None or parsed.hydra_help or parsed.shell_completion:
        return None
    own = [argument for argument in arguments if argument not in parsed.overrides]
    with hydra_compose():
        overrides = OverridesParser.create().parse_overrides(parsed.overrides)
        fixed = [o.input_line or "" for o in overrides if not o.is_sweep_override()]
        if parsed.config_dir:
            fixed.append(f"hydra.searchpath=['file://{Path(parsed.config_dir).absolute()}']")
        swept = {o.get_key_element(): o for o in overrides if o.is_sweep_override()}
        first = compose(BASE_CONFIG, [*fixed, *(_column(swept, 0))], return_hydra_config=True)
        folder = Path(str(first.hydra.sweep.dir)) if "optuna" not in str(first.hydra.sweeper._target_) else None
        if folder is not None:
            seeds = _seeds(first, {o.get_key_element() for o in overrides})
            kept = [override.input_line or "" for override in overrides if override.get_key_element() != "seeds"]
            return MultirunSpec(folder, [*own, *kept, *seeds, f"hydra.sweep.dir='{folder}'"], None)
        if "seed" not in first.hydra.sweeper.sampler:
            chosen = [_as_choice(override, first.hydra.sweeper.params) for override in overrides]
            if chosen != parsed.overrides:
                return read_multirun([*own, *chosen])
        return MultirunSpec(Path(str(first.hydra.sweep.dir)), list(arguments), _search(first, fixed, swept))


def _seeds(cfg: DictConfig, given: set[str]) -> list[str]:
    """``seeds=3`` of runs that are simply run: three for each combination."""
    if cfg.seeds == 1:
        return []
    if "seed" in given:
        raise ValueError(f"seeds={cfg.seeds}: counts on from one seed; the command line also gives seed")
    return ["seeds=1", "seed=" + ",".join(str(cfg.seed + n) for n in range(cfg.seeds))]


def _as_choice(override: Override, params: Mapping[str, str]) -> str:
    """What fixes a value that a grid would go through, as a choice of one: Hydra's sweeper can't take it out of a grid."""
    line, key = override.input_line or "", override.get_key_element()
    return line if key not in params or override.is_sweep_override() else f"{key}=choice({line.partition('=')[2]})"


def _search(first: DictConfig, fixed: list[str], swept: Mapping[str, Override]) -> SweepSpec:
    """The search of a sweep; its first, second, third ... choices are composed together, so that none is unknown."""
    named = {o.get_key_element() for o in OverridesParser.create().parse_overrides(fixed)}
    for key in FILLED_IN.keys() & named:
        raise ValueError(f"{key}: it follows from {FILLED_IN[key]}; give that")
    params = [f"{key}={value}" for key, value in (first.hydra.sweeper.params or {}).items() if key not in named]
    space = {o.get_key_element(): o for o in OverridesParser.create().parse_overrides(params)} | dict(swept)
    plain = [o.input_line or "" for o in space.values() if not o.is_sweep_override()]
    space = {key: o for key, o in space.items() if o.is_sweep_override()}
    if not space:
        raise ValueError("hydra.sweeper.params: nothing to choose; add such as 'optimizer.lr=interval(1e-4,1e-3)'")
    columns = [_column(space, n) for n in range(max(len(_values(o)) for o in space.values()))]
    settled: list[DictConfig] = []
    for column in columns:
        try:
            settled.append(resolve_and_validate(compose(BASE_CONFIG, [*fixed, *plain, *column]), column))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            cause = f" ({error.__cause__})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
            raise ValueError(f"hydra.sweeper.params, at {' '.join(column)}: {error}{cause}") from error
    cfg = settled[0]
    if not isinstance(cfg.study.name, str) or not cfg.study.name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"study.name={cfg.study.name}: a name of letters, digits, - and _, under which the study is kept")
    objective = [cfg.objective] if isinstance(cfg.objective, str) else list(cfg.objective or [])
    direction = first.hydra.sweeper.direction
    directions = list(direction) if OmegaConf.is_list(direction) else [direction]
    if len(directions) != len(objective) or any(getattr(d, "name", d) != "minimize" for d in directions):
        raise ValueError(
            f"objective=[{','.join(objective)}]: each is minimised, so hydra.sweeper.direction={direction} must be minimize as "
            "many times"
        )
    leaves = {
        key: value
        for key, value in flatten_config(cfg).items()
        if not f"{key}.".startswith(tuple(f"{f}." for f in NOT_COMPARED))
    }
    sampler = first.hydra.sweeper.sampler
    grid = "seed" not in sampler
    for key, override in space.items():
        if grid and not override.is_choice_sweep():
            raise ValueError(f"{override.input_line}: a grid goes through choices; give {key}=choice(...)")
    points = math.prod(len(_values(o)) for o in space.values())
    return SweepSpec(
        cfg,
        min(cfg.study.trials, points) if grid else cfg.study.trials,
        objective,
        {key: (o.input_line or "").partition("=")[2] for key, o in space.items()},
        {key: value for key, value in leaves.items() if key not in space},
        {} if grid else _default([*fixed, *plain], space),  # a grid comes to it in its own time
        sampler.get("seed"),
        not grid,
    )


def _default(overrides: list[str], space: Mapping[str, Override]) -> dict[str, Any]:
    """What the configuration says without the sweep, in the words of its choices; empty if one is none of them."""
    cfg = compose(BASE_CONFIG, overrides, return_hydra_config=True)
    found: dict[str, Any] = {}
    for key, override in space.items():
        choice = cfg.hydra.runtime.choices.get(key)
        value = OmegaConf.select(cfg, key) if choice is None else choice
        if override.is_interval_sweep():
            interval: Any = override.value()
            if not isinstance(value, int | float) or not interval.start <= value <= interval.end:
                return {}
            found[key] = value
        else:
            spelt = format_choice(value)
            same = [one for one in override.sweep_iterator(transformer=Transformer.encode) if str(one) == spelt]
            if not same:
                return {}
            found[key] = same[0]
    return found


def _column(space: Mapping[str, Override], number: int) -> list[str]:
    """The n-th choice of everything."""
    return [f"{key}={values[number % len(values)]}" for key, o in space.items() for values in [_values(o)]]


def _values(override: Override) -> list[str]:
    """What an override may become; of an interval its ends."""
    if override.is_interval_sweep():
        interval: Any = override.value()
        return [str(interval.start), str(interval.end)]
    return [str(value) for value in override.sweep_iterator(transformer=Transformer.encode)]
