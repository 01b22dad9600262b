"""Checks a command line before Hydra sees it, and explains what Hydra could not compose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gan_lab.config.compose import hydra_compose
from gan_lab.config.renamed import new_key, new_override
from gan_lab.config.schema import CONF_DIR

FLAGS = ("-m", "--multirun", "--resolve", "--run", "-r", "--hydra-help", "--experimental-rerun", "-h", "--help", "--version")
FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--shell-completion", "-sc"),
)
"""Hydra's, and ``--version``."""

LIST_GROUPS = frozenset({"loss", "penalty", "augment", "tracker", "protocol", "features", "degradation"})
"""Groups of which several options may be chosen at once, ``loss=[bce,feature_matching]``."""

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
"""Sections that hold any number of objects by name, to which ``+`` may add one with a ``_target_``."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Check what needs no composed configuration: flags, stray words, spaces, old names, groups and options.

    Args:
        arguments: the command line without the command.

    Raises:
        ValueError: with the argument, what is wrong with it, and what to type.
    """
    words = list(_overrides(arguments))
    _check_spaces(words)
    folders = [CONF_DIR, *(Path(folder) for folder in _values_of(arguments, ("--config-dir", "-cd")))]
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        _check_old_name(word, key, value)
        if word.startswith("~"):
            continue
        group = key.partition("@")[0].partition(":")[0]
        if any((folder / group).is_dir() for folder in folders) and not group.startswith("hydra"):
            _check_options(group, value, folders)


def check_additions(arguments: Sequence[str], config: str) -> None:
    """Refuse a ``+key=value`` that nothing reads, or whose key exists already.

    Args:
        arguments: the command line, of a resumed run with its stored overrides.
        config: name of the command's configuration.

    Raises:
        ValueError: with the key that was probably meant.
    """
    words = list(_overrides(arguments))
    if not (added := [word for word in words if word.startswith("+")]):
        return
    with hydra_compose():
        try:
            cfg = _without_values([word for word in words if not word.startswith("+")], config)
        except (HydraException, OmegaConfBaseException):
            return  # another argument is wrong, which composing will say
    for word in added:
        _check_addition(word, cfg)


def explain(error: Exception, arguments: Sequence[str], config: str) -> str:
    """What is wrong with a command line that Hydra or OmegaConf refused, in one sentence where the cause is known."""
    overrides = [word for word in _overrides(arguments) if not word.lstrip("+~").startswith("hydra")]
    for word in overrides:
        try:
            OverridesParser.create().parse_override(word)
        except HydraException:
            key, _, value = word.partition("=")
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            typed = quote(key + "='" + escaped + "'")
            return f"{word}: has characters with a special meaning; put the value in quotes: {typed}"
    try:
        with hydra_compose():
            cfg = _without_values(overrides, config)
    except (HydraException, OmegaConfBaseException, ValueError):
        return _first_line(error)
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        if word.startswith("+") or (CONF_DIR / key.partition("@")[0]).is_dir():
            continue
        if not _has(cfg, key):
            return unknown_key(key, cfg)
        if key == _key_of(error):
            return _wrong_value(key, value, cfg, _first_line(error))
    missing = _key_of(error)
    if isinstance(_innermost(error), MissingMandatoryValue) and missing:
        return f"{missing} has no default and has to be given: {missing}=..."
    return _first_line(error)


def _wrong_value(key: str, value: str, cfg: DictConfig, reason: str) -> str:
    """A message about a value of the wrong type."""
    if OmegaConf.is_dict(OmegaConf.select(cfg, key, throw_on_missing=False)):
        inside = OmegaConf.select(cfg, key)
        return f"{key}={value}: {key} is a section; give one of its keys: {', '.join(f'{key}.{name}' for name in inside)}"
    wanted = next((words for sign, words in TYPES.items() if sign in reason), None)
    return f"{key}={value}: must be {wanted}" if wanted else f"{key}={value}: {reason}"


TYPES = {
    "to Integer": "a whole number",
    "to Float": "a number",
    "is not a valid bool": "true or false",
    "not Optional": "a value, not null",
    "Cannot convert": "one value, not a list or a section",
    "is not a ListConfig": "a list, such as [1,5,10]",
}
"""Parts of OmegaConf's messages, and the type they ask for."""


def unknown_key(key: str, cfg: DictConfig) -> str:
    """A message about a key that the configuration does not have."""
    known = _leaves(cfg)
    near = _suggest(key, known)
    hint = f"; did you mean {near}?" if near else ""
    section, _, _ = key.rpartition(".")
    if not near and section and OmegaConf.is_dict(inside := OmegaConf.select(cfg, section)):
        hint = f"; {section} has {', '.join(str(name) for name in inside if not str(name).startswith('_'))}"
    return f"{key}: there is no such key here{hint or '; --help lists all keys'}"


def _overrides(arguments: Sequence[str]) -> Iterator[str]:
    """The words that are neither flags nor their values.

    Raises:
        ValueError: an unknown flag.
    """
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            yield word
        elif word in FLAGS_WITH_VALUE:
            next(words, None)
        elif word not in FLAGS and not word.startswith(tuple(f"{flag}=" for flag in FLAGS_WITH_VALUE if flag[:2] == "--")):
            bare = word.lstrip("-")
            hint = f"write it without dashes, {bare}" if "=" in bare else _did_you_mean(word, [*FLAGS, *FLAGS_WITH_VALUE])
            raise ValueError(f"{word}: unknown flag; {hint}")


def _values_of(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """What a flag was given, as ``--flag value`` or ``--flag=value``."""
    found = [after for word, after in pairwise(arguments) if word in flags]
    return found + [word.partition("=")[2] for word in arguments if word.partition("=")[0] in flags and "=" in word]


def _check_spaces(words: Sequence[str]) -> None:
    for n, word in enumerate(words):
        before, after = words[n - 1] if n else "", words[n + 1] if n + 1 < len(words) else ""
        if word == "=" or (word.startswith("=") and before):
            raise ValueError(f"{before} {word}: no spaces around =; type {before}={word[1:] or after}")
        if word.endswith("=") and after and "=" not in after:
            raise ValueError(f"{word} {after}: no spaces around =; type {word}{after}")
        if word.endswith(",") and after and "=" not in after:
            raise ValueError(f"{word} {after}: no space after a comma; type {word}{after}")
        if "=" not in word and not word.startswith("~") and not after.startswith("="):
            if "=" not in after and after and not after.startswith("~"):
                raise ValueError(f"{word} {after}: overrides are written key=value; type {word}={after}")
            raise ValueError(f"{word}: overrides are written key=value, such as epochs=3 or model=dcgan")


def _check_old_name(word: str, key: str, value: str) -> None:
    key = key.partition("@")[0]
    now = new_override(key, value)
    if now != (key, value):
        old = key if (now[1] == value and now[0] == new_key(key)) or not value else f"{key}={value}"
        what = now[0] if old == key else f"{now[0]}={now[1]}"
        sign = word[: len(word) - len(word.lstrip("+~"))]
        raise ValueError(f"{old} is now {what}; type {sign}{now[0]}={now[1]}")


def _check_options(group: str, value: str, folders: Sequence[Path]) -> None:
    options = sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
    listed = value.startswith("[") and value.endswith("]")
    chosen = [item.strip() for item in value.strip("[]").split(",")] if listed else [value]
    if listed and group not in LIST_GROUPS and options:
        raise ValueError(f"{group}={value}: {group} takes one option, not a list; one of {', '.join(options)}")
    if not any(chosen) and group not in OPTIONAL_GROUPS:
        raise ValueError(f"{group}={value}: choose at least one of {', '.join(options)}")
    if doubled := next((item for item in chosen if chosen.count(item) > 1), None):
        raise ValueError(f"{group}={value}: {doubled} is listed twice")
    if any(sign in value for sign in "()") or (not listed and "," in value):
        chosen = value.split(",") if "(" not in value else []  # of a multirun; choice(...) is checked where it is parsed
    for item in chosen:
        if item in ("null", "") and group in OPTIONAL_GROUPS:
            continue
        if item not in options:
            raise ValueError(f"{group}={item}: no such option; {_did_you_mean(item, options, f'{group} has ')}")


def _check_addition(word: str, cfg: DictConfig) -> None:
    key, _, value = word.lstrip("+").partition("=")
    section = key.rpartition(".")[0]
    if key.startswith("hydra") or (CONF_DIR / key.partition("@")[0]).is_dir() or (word.startswith("++") and _has(cfg, key)):
        return
    if _has(cfg, key):
        raise ValueError(f"{word}: {key} exists already; type {key}={value}")
    parent: Any = OmegaConf.select(cfg, section) if section else None
    if OmegaConf.is_dict(parent) and "_target_" in parent:
        return  # its parameters are checked when the object is built
    if section in NAMED_OBJECTS and "_target_" in value:
        return
    if any(key.startswith(f"{named}.") and key.count(".") > named.count(".") + 1 for named in NAMED_OBJECTS):
        return  # a parameter of an object that is added as well
    near = _suggest(key, _leaves(cfg))
    raise ValueError(f"{word}: nothing reads {key}" + (f"; did you mean {near}={value}?" if near else ""))


def _without_values(overrides: Sequence[str], config: str) -> DictConfig:
    """The configuration with the chosen options alone."""
    chosen = [o for o in overrides if (CONF_DIR / o.lstrip("+~").partition("=")[0].partition("@")[0]).is_dir()]
    parsed = OverridesParser.create().parse_overrides(chosen)
    return compose(config, overrides=[_first_choice(override) for override in parsed])


def _first_choice(override: Override) -> str:
    """Of a multirun, its first run."""
    if not override.is_sweep_override():
        return override.input_line or ""
    return f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"


def _has(cfg: DictConfig, key: str) -> bool:
    section, _, name = key.rpartition(".")
    parent: Any = OmegaConf.select(cfg, section) if section else cfg
    return OmegaConf.is_dict(parent) and name in list(parent.keys())  # `in parent` is false of missing values


def _leaves(cfg: Any, prefix: str = "") -> list[str]:
    """Dotted names of all keys and sections."""
    names: list[str] = []
    for key in cfg:
        name = f"{prefix}{key}"
        names.append(name)
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key) and OmegaConf.is_dict(cfg[key]):
            names += _leaves(cfg[key], f"{name}.")
    return [name for name in names if not name.rpartition(".")[2].startswith("_")]


def _suggest(key: str, known: Sequence[str]) -> str | None:
    """The known key that a misspelled one most likely stands for."""
    if near := get_close_matches(key, known, n=1, cutoff=0.75):
        return near[0]
    last = key.rpartition(".")[2]
    section = key.rpartition(".")[0]
    here = [name for name in known if name.rpartition(".")[0] == section]
    synonyms = {"learning_rate": "lr", "epoch": "epochs", "batchsize": "batch_size", "bs": "batch_size", "gpu": "device"}
    wanted = synonyms.get(last, last)
    for name in (*here, *known):
        if name.rpartition(".")[2] == wanted:
            return name
    near = get_close_matches(last, [name.rpartition(".")[2] for name in known], n=1, cutoff=0.8)
    return next((name for name in known if near and name.rpartition(".")[2] == near[0]), None)


def _did_you_mean(word: str, options: Sequence[str], listing: str = "known are ") -> str:
    near = get_close_matches(word, options, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"{listing}{', '.join(options)}"


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _key_of(error: BaseException | None) -> str | None:
    """The key that OmegaConf's error, or one of its causes, is about."""
    while error is not None:
        if key := getattr(error, "full_key", None):
            return str(key)
        error = error.__cause__
    return None


def _first_line(error: BaseException) -> str:
    """The innermost cause, without Hydra's and OmegaConf's lines about their own internals."""
    cause = _innermost(error)
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
