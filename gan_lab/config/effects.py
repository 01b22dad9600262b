"""Overrides without effect: of keys that only stand for others, when those others are set themselves.

``optimizer.lr`` is not read by the program; ``optimizer.generator.lr`` and ``optimizer.discriminator.lr`` are, and refer to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.allowed_types import Section
from gan_lab.config.allowed_values import allowed_at
from gan_lab.config.compose import BASE_CONFIG, compose_options
from gan_lab.config.scheduled_values import scheduled_entries

SHARED = ("optimizer", "model", "penalty", "loss", "pretraining.lr")
"""Sections whose values, apart from the arguments of objects, are read through references alone."""

REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)")


def check_effects(cfg: DictConfig, overrides: Sequence[str], command_line: Sequence[str]) -> None:
    """Check that each override of a shared value changes something.

    Args:
        cfg: as composed, with its references.
        overrides: those to check.
        command_line: all overrides, for the message.

    Raises:
        ValueError: one has no effect; the message names the keys that have.
    """
    entries = dict(scheduled_entries(cfg))
    references = {name for _, value in _values(cfg) for name in _references(value)}
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        entry = entries.get(key)
        if entry is not None and entry.get("from") is not None and key not in _references(str(_raw(entry))):
            raise ValueError(f"{override}: has no effect, as schedule.of.{key} sets the value; give schedule.of.{key}.from")
        if not _is_shared(cfg, key) or any(key == name or key.startswith(f"{name}.") for name in references):
            continue
        options = compose_options(command_line, BASE_CONFIG)
        instead = [name for name, value in _values(options) if key in _references(value)] or _of_the_same_name(cfg, key)
        advice = f"{' and '.join(instead)} do not refer to it; give those" if instead else "nothing refers to it"
        raise ValueError(f"{override}: has no effect, as {advice}")


def check_study_keys(overrides: Sequence[str]) -> None:
    """Check that a command without a sweep sets nothing of a study.

    Raises:
        ValueError: it does.
    """
    own = ("study.", "constraints=", "constraints.")
    if of_a_study := next((override for override in overrides if override.lstrip("+").startswith(own)), None):
        raise ValueError(f"{of_a_study.lstrip('+')}: has no effect without a sweep, only with -m sweep=...; leave it out")


def learning_rate_keys(cfg: DictConfig) -> tuple[str, ...]:
    """The keys that set the learning rates of both networks; ``cfg`` as composed, with its references."""
    raw = dict(_values(cfg))
    keys = []
    for network in ("generator", "discriminator"):
        own = f"optimizer.{network}.lr"
        shared = "optimizer.lr" if "optimizer.lr" in _references(raw.get(own)) else own
        entry = OmegaConf.select(cfg, f"schedule.of.{shared}")
        keys.append(f"schedule.of.{shared}.from" if entry is not None and entry.get("from") is not None else shared)
    return tuple(dict.fromkeys(keys))


def _is_shared(cfg: DictConfig, key: str) -> bool:
    """Whether a key is a value of one of the sections of :data:`SHARED`, and no argument of an object."""
    if isinstance(allowed_at(key), Section):
        return False
    if not any(key == section or key.startswith(f"{section}.") for section in SHARED):
        return False
    parent = OmegaConf.select(cfg, key.rpartition(".")[0])
    if not OmegaConf.is_dict(parent) or "_target_" in parent:
        return False
    return not OmegaConf.is_dict(OmegaConf.select(cfg, key))


def _of_the_same_name(cfg: DictConfig, key: str) -> list[str]:
    section, _, name = key.partition(".")
    return [
        other for other, _ in _values(cfg) if other != key and other.startswith(f"{section}.") and other.endswith(f".{name}")
    ]


def _raw(cfg: Any) -> Any:
    return OmegaConf.to_container(cfg, resolve=False)


def _values(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values with their references; lists count as values."""
    return _walk(_raw(cfg), "")


def _walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield prefix, node
        return
    for key, value in node.items():
        yield from _walk(value, f"{prefix}.{key}".lstrip("."))


def _references(value: Any) -> list[str]:
    return REFERENCE.findall(str(value))
