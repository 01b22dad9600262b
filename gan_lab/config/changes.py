"""How the configuration of a run differs from the default one, read from the files of ``conf/`` without composing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.compose import BASE_CONFIG, flatten_config
from gan_lab.config.path_arguments import typed_text
from gan_lab.config.schema import CONF_DIR
from gan_lab.config.stored_config import format_choice, read_config
from gan_lab.storage.run_directory import RunDirectory


@dataclass(frozen=True)
class Change:
    """An option of a group, or a single value, that is not the default one.

    Attributes:
        key: of the group or value.
        default: of the default configuration, or of the option's file; empty if it stands in neither.
        value: of the run.
        argument: with which a new run gets it; empty if that would be another kind of run, as with an option of ``sweep``.
    """

    key: str
    default: str
    value: str
    argument: str


def changes_from_default(directory: RunDirectory) -> list[Change]:
    """The options in which a run differs from the default configuration, then the single values given on its command line.

    Raises:
        ValueError: the run's configuration can't be read.
    """
    stored = read_config(directory)
    base = OmegaConf.load(CONF_DIR / f"{BASE_CONFIG}.yaml")
    assert isinstance(base, DictConfig)
    before = _default_choices(base)
    chosen = {str(group): format_choice(choice) for group, choice in stored.choices.items()}
    groups = [
        Change(group, before[group], now, "" if group == "sweep" else f"{group}={now}")
        for group, now in chosen.items()
        if before.get(group, now) != now
    ]
    return groups + [_single_value(override, base, chosen) for override in stored.overrides]


def configuration_values(directory: RunDirectory) -> dict[str, str]:
    """The chosen options and all single values of a run, as text by group or dotted key.

    Raises:
        ValueError: the run's configuration can't be read.
    """
    stored = read_config(directory)
    choices = {str(group): format_choice(choice) for group, choice in stored.choices.items()}
    values = flatten_config({key: value for key, value in stored.items() if key not in ("choices", "overrides")})
    return choices | {key: format_choice(value) for key, value in values.items()}


def _default_choices(base: DictConfig) -> dict[str, str]:
    """The option of each group in the defaults list, and the options of other groups that the default model brings."""
    choices = _listed_options(base.defaults)
    model = OmegaConf.load(CONF_DIR / "model" / f"{choices['model']}.yaml")
    assert isinstance(model, DictConfig)
    return choices | _listed_options(model.get("defaults", []))


def _listed_options(defaults: Sequence[Any]) -> dict[str, str]:
    """The options in a defaults list: of ``{"override /loss": "hinge"}`` it is ``hinge`` of ``loss``."""
    entries = [entry for entry in defaults if OmegaConf.is_dict(entry)]
    return {str(group).split()[-1].lstrip("/"): format_choice(choice) for entry in entries for group, choice in entry.items()}


def _single_value(override: str, base: DictConfig, chosen: dict[str, str]) -> Change:
    key, _, value = override.lstrip("+~").partition("=")
    return Change(key, _default_value(key, base, chosen), typed_text(value), override)


def _default_value(key: str, base: DictConfig, chosen: dict[str, str]) -> str:
    """The value in the file of the group's option, or without one in the default configuration."""
    group, _, rest = key.partition(".")
    option = CONF_DIR / group / f"{chosen.get(group)}.yaml"
    in_option = bool(rest) and option.is_file()
    value: Any = OmegaConf.to_container(OmegaConf.load(option) if in_option else base, resolve=False)
    for part in (rest if in_option else key).split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return "{...}" if isinstance(value, dict) else format_choice(value)
