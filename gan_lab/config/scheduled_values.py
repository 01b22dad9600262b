"""``schedule.of``: which arguments of objects a scheduled key sets, and their first and last values.

``schedule.of.penalty.gamma: {to: 0.005}`` schedules ``penalty.gamma``, a key that the weights of R1 and R2 refer to. What
changes during training are those weights. They are found by resolving the configuration with the key's first and with its last
value, before the references are replaced by values.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.compose import flatten_config, has_key

ENTRY = ("from", "to", "kimg", "curve", "optional")
"""Keys of an entry; only ``to`` is required. An optional one is ignored if there is no such key, or nothing depends on it."""

SETS = "sets"
"""Key of an entry under which the arguments it sets are stored with a run."""


def scheduled_entries(cfg: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """The entries of ``schedule.of`` by the key that they schedule."""
    return _walk(cfg.schedule.get("of") or {}, "")


def _walk(section: Any, prefix: str) -> Iterator[tuple[str, DictConfig]]:
    for name, node in section.items():
        key = f"{prefix}{name}"
        if not OmegaConf.is_dict(node):
            raise ValueError(f"schedule.of.{key}={node}: must hold {', '.join(ENTRY)}")
        if "to" in node:
            yield key, node
        else:
            yield from _walk(node, f"{key}.")


def find_scheduled_arguments(cfg: DictConfig) -> None:
    """Write into each entry of ``schedule.of`` the arguments that it sets.

    Args:
        cfg: a composed configuration, not resolved yet; entries that have them already, as in a stored one, are left alone.

    Raises:
        ValueError: an entry is not valid, names no key, or sets nothing.
    """
    for key, entry in list(scheduled_entries(cfg)):
        if SETS not in entry:
            OmegaConf.update(cfg, f"schedule.of.{key}.{SETS}", _arguments(cfg, key, entry), force_add=True)


def _arguments(cfg: DictConfig, key: str, entry: DictConfig) -> list[dict[str, Any]]:
    """The arguments that an entry sets: key, first value and last value of each."""
    where = f"schedule.of.{key}"
    if unknown := {str(name) for name in entry} - set(ENTRY):
        raise ValueError(f"{where}.{min(unknown)}: an entry holds {', '.join(ENTRY)}")
    if not has_key(cfg, key) and entry.get("optional"):
        return []
    if not has_key(cfg, key):
        raise ValueError(f"{where}: this configuration has no key {key}; ~{where} removes the entry")
    first, last = (_plain(entry.get(name)) for name in ("from", "to"))
    first = _plain(OmegaConf.select(cfg, key)) if first is None else first
    if not _are_numbers(first, last):
        raise ValueError(f"{where}: {first} and {last} must be numbers, or lists with equally many numbers")
    if first == last:
        raise ValueError(f"{where}: goes from {first} to {last}, which are equal; set {key} instead")
    before, after = (_resolved(cfg, key, value) for value in (first, last))
    changed = [name for name in before if before[name] != after.get(name) and _is_argument(cfg, name)]
    if not changed and not entry.get("optional"):
        raise ValueError(f"{where}: no argument of an object depends on {key}")
    return [{"key": name, "from": before[name], "to": after[name]} for name in changed]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _resolved(cfg: DictConfig, key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(cfg)
    OmegaConf.update(changed, key, value, force_add=True)
    return flatten_config(changed)


def _is_argument(cfg: DictConfig, key: str) -> bool:
    section = OmegaConf.select(cfg, key.rpartition(".")[0])
    return OmegaConf.is_dict(section) and "_target_" in section


def _are_numbers(first: Any, last: Any) -> bool:
    if isinstance(first, list) and isinstance(last, list):
        return len(first) == len(last) > 0 and all(map(_are_numbers, first, last))
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in (first, last))
