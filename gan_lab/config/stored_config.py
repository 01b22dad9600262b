"""A run's ``config.yaml``: the resolved configuration, and the options and overrides that it was composed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.compose import flatten_config
from gan_lab.config.path_arguments import typed_text
from gan_lab.config.scheduled_values import find_scheduled_arguments
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.version import __version__


def read_config(directory: RunDirectory) -> DictConfig:
    """Read a run's configuration.

    Raises:
        ValueError: the file is damaged, or was written by version 0.1, whose keys and checkpoints had other names.
    """
    path = directory.config
    try:
        cfg = OmegaConf.load(path)
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    except Exception as error:  # the YAML parser's own errors, without importing it for their name
        raise ValueError(f"{path} is not YAML: {error}") from error
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
    return cfg


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
