"""A run's ``config.yaml``: the resolved configuration, and the options and overrides that it was composed from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.compose import flatten_config, is_group
from gan_lab.config.path_arguments import KEYS, typed_text
from gan_lab.config.scheduled_values import find_scheduled_arguments
from gan_lab.config.schema import Config, EvaluateConfig
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.version import __version__

NAME = re.compile(r"\w[\w.+-]*")
"""Names of options and of groups; no path to a file elsewhere."""

OF_A_RUN = frozenset(field.name for field in fields(Config) if not field.name.startswith("resume"))
"""Keys of a run, besides the groups."""

NOT_OF_A_RUN = {"hydra"} | {field.name for field in fields(EvaluateConfig)} - OF_A_RUN
"""Keys of Hydra and of the command line, such as the file that the scores are written to."""

REFERENCE = re.compile(r"\$\{\s*[\w.]+\s*:")
"""A call of a function of the configuration, such as ``${oc.env:HOME}``, which reads a variable of the environment."""


FIRST_LINE, LAST_LINE = "# the configuration of a run; its last line ends the YAML document\n", "...\n"
"""A file with this first line has this last line, unless it was cut short. Earlier runs have neither."""


def read_config(directory: RunDirectory) -> DictConfig:
    """Read a run's configuration.

    Raises:
        ValueError: the file is damaged, contains what no run writes, or was written by version 0.1, whose keys and checkpoints
            had other names.
    """
    path = directory.config
    try:
        cfg = OmegaConf.load(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    except Exception as error:  # the YAML parser's own errors, without importing it for their name
        raise ValueError(f"{path} is not YAML: {error}") from error
    if text.startswith(FIRST_LINE) and not f"{text.rstrip()}\n".endswith(f"\n{LAST_LINE}"):
        raise ValueError(f"{path} was cut short: its last line, {LAST_LINE.strip()}, is missing")
    if (
        not isinstance(cfg, DictConfig)
        or "model" not in cfg
        or not OmegaConf.is_list(cfg.get("overrides"))
        or not OmegaConf.is_dict(cfg.get("choices"))
    ):
        raise ValueError(f"{path} is not the configuration of a run")
    if "version" not in cfg:
        raise ValueError(
            f"{directory.path} was trained by gan_lab 0.1, whose keys and checkpoints version {__version__} can't read; "
            "resume, sample or evaluate it with 0.1, or train it again (CHANGELOG.md lists the new names)"
        )
    _check_is_resolved(cfg, directory)
    for override in stored_overrides(cfg):
        if (reason := _refusal(override, cfg.choices)) is not None:
            raise ValueError(f"{path} is not the configuration of a run: {override} {reason}")
    return cfg


def _check_is_resolved(cfg: DictConfig, directory: RunDirectory) -> None:
    """Raise ValueError if a value is a reference, which could read a variable of the environment into the files of the run."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    if (reference := _find_reference({key: value for key, value in plain.items() if key != "overrides"})) is not None:
        raise ValueError(f"{directory.config} is not the configuration of a run: {reference} is a reference, not a value")
    for override in plain["overrides"]:
        if not isinstance(override, str):
            raise ValueError(f"{directory.config} is not the configuration of a run: its override {override} is no text")
        key = override.lstrip("+~").partition("=")[0]
        if (call := REFERENCE.search(override)) and not (key in KEYS and call[0] == "${oc.env:"):
            raise ValueError(f"{directory.config}: the override {override} calls a function; put its value there instead")


def _find_reference(node: Any) -> str | None:
    """The first text that contains a reference."""
    if isinstance(node, str):
        return node if "${" in node else None
    items = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else []
    return next((found for item in items if (found := _find_reference(item)) is not None), None)


def _refusal(override: str, choices: DictConfig) -> str | None:
    """Why an override is none that a run can have been composed from; None if it may be.

    Hydra reads them like a command line, on which flags and the section ``hydra`` load files and classes of any kind.
    """
    if override.startswith("-"):
        return "is a flag"
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return "can't be read"
    key, value = parsed.key_or_group, parsed.value()
    if parsed.package is not None or parsed.is_sweep_override():
        return "is not a key and its value"
    top = key.partition(".")[0]
    if not NAME.fullmatch(top) or top in NOT_OF_A_RUN or (top not in {*OF_A_RUN, *choices} and not is_group(top)):
        return "is no key of a run"
    options = value if isinstance(value, list) else [value]
    if is_group(key) and not all(NAME.fullmatch(option) for option in options if isinstance(option, str)):
        return "is no name of an option"
    return None


def named_config(arguments: Sequence[str], key: str) -> DictConfig | None:
    """The configuration of the run that ``key=PATH`` on a command line names, or None."""
    paths = [a.partition("=")[2] for a in arguments if a.startswith(f"{key}=")]
    return read_config(RunDirectory.find(typed_text(paths[-1]))) if paths and paths[-1] not in ("", "null") else None


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of a command line, and its overrides."""
    return [a for a in arguments if a.startswith("-")], [a for a in arguments if not a.startswith("-")]


def stored_overrides(stored: DictConfig) -> list[str]:
    """The command line that a run was composed from."""
    choices = (f"{group}={format_choice(choice)}" for group, choice in stored.choices.items() if choice is not None)
    return [*choices, *stored.overrides]


def format_choice(choice: Any) -> str:
    """An option, a value, or a list of them, as typed on the command line: ``true``, ``null``, ``[bce,feature_matching]``."""
    if choice is None:
        return "null"
    if OmegaConf.is_list(choice) or isinstance(choice, list | tuple):
        return f"[{','.join(map(format_choice, choice))}]"
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def differences(stored: DictConfig, composed: DictConfig, new: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of a stored configuration that the overrides ``new`` change.

    The configuration is composed with and without them. Thus values that refer to a changed value change as well, while those
    whose defaults have changed since the run was started do not. Neither do the arguments that ``schedule.of`` sets.

    Returns:
        The changed values by dotted key, and the keys that are removed.
    """
    without = compose(HydraConfig.get().job.config_name, overrides=stored_overrides(stored))
    for cfg in (without, composed):
        find_scheduled_arguments(cfg)  # while it still has references
    before, after = flatten_config(without), flatten_config(composed)
    named = {override.lstrip("+~").partition("=")[0] for override in new}
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value or key in named}
    return changed, sorted(before.keys() - after.keys())
