"""Checks of a command line before Hydra sees it: flags, spaces, renamed keys, options, and keys added with ``+``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.compose import compose_options, dotted_keys, has_key, hydra_compose, is_group
from gan_lab.config.renamed import new_key, new_override
from gan_lab.config.schema import CONF_DIR
from gan_lab.utils.suggestions import did_you_mean, similar_key

FLAGS = ("-m", "--multirun", "--resolve", "--run", "-r", "--hydra-help", "--experimental-rerun", "-h", "--help", "--version")
FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--shell-completion", "-sc"),
)
"""Hydra's flags, and ``--version``."""

LIST_GROUPS = frozenset({"loss", "penalty", "augment", "tracker", "protocol", "features", "degradation"})
"""Groups that accept a list of options, such as ``loss=[bce,feature_matching]``."""

OPTIONAL_GROUPS = frozenset({"experiment", "sweep", "debug"})
"""Groups that may be ``null``."""

NAMED_OBJECTS = frozenset(
    {
        *(f"{group}.{network}" for group in ("loss", "penalty") for network in ("generator", "discriminator")),
        *(f"conditioning.terms.{network}" for network in ("generator", "discriminator")),
        *("augment", "evaluation.metrics", "evaluation.pairs", "protocol", "features", "health", "tracker"),
        *("degradation.steps", "pretraining.terms"),
    }
)
"""Sections that map names to objects; ``+`` may add an object with a ``_target_``."""

SCHEDULED = "schedule.of."
"""Beginning of the keys that schedule another key; what follows is checked when the configuration is resolved."""

CONSTRAINED = "constraints."
"""Beginning of the keys that bound a metric of a sweep."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Check what can be checked without composing a configuration: flags, spaces, renamed keys, groups and options.

    Args:
        arguments: the command line without the command.

    Raises:
        ValueError: an argument is wrong; the message says what to type instead.
    """
    overrides = list(override_arguments(arguments))
    _check_spaces(overrides)
    folders = [CONF_DIR, *(Path(folder) for folder in _flag_values(arguments, ("--config-dir", "-cd")))]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        _check_renamed(override, key, value)
        if override.startswith("~"):
            continue
        group = key.partition("@")[0].partition(":")[0]
        if any((folder / group).is_dir() for folder in folders) and not group.startswith("hydra"):
            _check_options(group, value, folders)


def check_additions(arguments: Sequence[str], config: str) -> None:
    """Check each ``+key=value``: the key must be new, and in a section that accepts new keys.

    Args:
        arguments: the command line; for a resumed run, including its stored overrides.
        config: name of the command's configuration.

    Raises:
        ValueError: the key exists already, or nothing reads it; the message suggests a similar key.
    """
    overrides = list(override_arguments(arguments))
    if not (added := [override for override in overrides if override.startswith("+")]):
        return
    with hydra_compose():
        try:
            cfg = compose_options([override for override in overrides if not override.startswith("+")], config)
        except (HydraException, OmegaConfBaseException):
            return  # another argument is wrong; composing the whole configuration reports it
    for override in added:
        _check_addition(override, cfg)


def check_used(overrides: Sequence[str], use: str, uses: Mapping[str, Sequence[str]]) -> None:
    """Check that no key is given which has no effect in this use of a command.

    Args:
        overrides: the command line.
        use: the key that selects the use, such as ``run``.
        uses: for some keys and sections, the uses in which they have an effect.

    Raises:
        ValueError: one of them is given in another use.
    """
    for override in overrides:
        section = override.lstrip("+~").partition("=")[0].partition(".")[0]
        if use not in uses.get(section, (use,)):
            raise ValueError(f"{override}: has no effect with {use}=..., only with {' or '.join(uses[section])}; leave it out")


def override_arguments(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments that are neither flags nor values of flags.

    Raises:
        ValueError: an unknown flag.
    """
    remaining = iter(arguments)
    for argument in remaining:
        if not argument.startswith("-"):
            yield argument
        elif argument in FLAGS_WITH_VALUE:
            next(remaining, None)
        elif argument not in FLAGS and not argument.startswith(
            tuple(f"{flag}=" for flag in FLAGS_WITH_VALUE if flag[:2] == "--")
        ):
            bare = argument.lstrip("-")
            hint = f"write it without dashes, {bare}" if "=" in bare else did_you_mean(argument, [*FLAGS, *FLAGS_WITH_VALUE])
            raise ValueError(f"{argument}: unknown flag; {hint}")


def _flag_values(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The values of flags, given as ``--flag value`` or ``--flag=value``."""
    separate = [value for argument, value in pairwise(arguments) if argument in flags]
    return separate + [a.partition("=")[2] for a in arguments if a.partition("=")[0] in flags and "=" in a]


def _check_spaces(overrides: Sequence[str]) -> None:
    for n, override in enumerate(overrides):
        before, after = overrides[n - 1] if n else "", overrides[n + 1] if n + 1 < len(overrides) else ""
        if override == "=" or (override.startswith("=") and before):
            raise ValueError(f"{before} {override}: no spaces around =; type {before}={override[1:] or after}")
        if override.endswith("=") and after and "=" not in after:
            raise ValueError(f"{override} {after}: no spaces around =; type {override}{after}")
        if override.endswith(",") and after and "=" not in after:
            raise ValueError(f"{override} {after}: no space after a comma; type {override}{after}")
        if "=" not in override and not override.startswith("~") and not after.startswith("="):
            if "=" not in after and after and not after.startswith("~"):
                raise ValueError(f"{override} {after}: overrides are written key=value; type {override}={after}")
            raise ValueError(f"{override}: overrides are written key=value, such as epochs=3 or model=dcgan")


def _check_renamed(override: str, key: str, value: str) -> None:
    """Reject a key or value of an earlier version; the message gives the current one."""
    key = key.partition("@")[0]
    current_key, current_value = new_override(key, value)
    if (current_key, current_value) == (key, value):
        return
    only_key = (current_value == value and current_key == new_key(key)) or not value
    old, new = (key, current_key) if only_key else (f"{key}={value}", f"{current_key}={current_value}")
    sign = override[: len(override) - len(override.lstrip("+~"))]
    raise ValueError(f"{old} is now {new}; type {sign}{current_key}={current_value}")


def _check_options(group: str, value: str, folders: Sequence[Path]) -> None:
    options = sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
    is_list = value.startswith("[") and value.endswith("]")
    chosen = [item.strip() for item in value.strip("[]").split(",")] if is_list else [value]
    if is_list and group not in LIST_GROUPS and options:
        raise ValueError(f"{group}={value}: {group} takes one option, not a list; one of {', '.join(options)}")
    if not any(chosen) and group not in OPTIONAL_GROUPS:
        raise ValueError(f"{group}={value}: choose at least one of {', '.join(options)}")
    if len(chosen) > 1 and "none" in chosen and is_list:
        others = ",".join(item for item in chosen if item != "none")
        raise ValueError(f"{group}={value}: none stands alone; type {group}=[{others}]")
    if repeated := next((item for item in chosen if chosen.count(item) > 1), None):
        raise ValueError(f"{group}={value}: {repeated} is listed twice")
    if any(sign in value for sign in "()") or (not is_list and "," in value):
        chosen = value.split(",") if "(" not in value else []  # a multirun; choice(...) is checked where it is parsed
    for item in chosen:
        if item in ("null", "") and group in OPTIONAL_GROUPS:
            continue
        if item not in options:
            raise ValueError(f"{group}={item}: no such option; {did_you_mean(item, options, f'{group} has ')}")


def _check_addition(override: str, cfg: DictConfig) -> None:
    key, _, value = override.lstrip("+").partition("=")
    section = key.rpartition(".")[0]
    if key.startswith(("hydra", SCHEDULED, CONSTRAINED)) or is_group(key) or (override.startswith("++") and has_key(cfg, key)):
        return
    if has_key(cfg, key):
        raise ValueError(f"{override}: {key} exists already; type {key}={value}")
    parent: Any = OmegaConf.select(cfg, section) if section else None
    if OmegaConf.is_dict(parent) and "_target_" in parent:
        return  # parameters of an object are checked when it is built
    if section in NAMED_OBJECTS and "_target_" in value:
        return
    if any(key.startswith(f"{named}.") and key.count(".") > named.count(".") + 1 for named in NAMED_OBJECTS):
        return  # a parameter of an object that is itself added
    similar = similar_key(key, dotted_keys(cfg))
    raise ValueError(f"{override}: nothing reads {key}" + (f"; did you mean {similar}={value}?" if similar else ""))
