"""Messages for command lines that Hydra or OmegaConf rejected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from gan_lab.config.allowed_values import allowed_at
from gan_lab.config.argument_checks import override_arguments
from gan_lab.config.compose import compose_options, dotted_keys, has_key, hydra_compose, is_group
from gan_lab.config.path_arguments import quote as hydra_quote
from gan_lab.config.schema import COMPOSED_OF_TRAINING
from gan_lab.utils.formatting import first_line
from gan_lab.utils.suggestions import did_you_mean, similar_key

EXPECTED_TYPES = {
    "to Integer": "a whole number",
    "to Float": "a number",
    "is not a valid bool": "true or false",
    "not Optional": "a value, not null",
    "Incompatible value 'None'": "a value, not null",
    "Cannot convert": "one value, not a list or a section",
    "is not a ListConfig": "a list, such as [1,5,10]",
}
"""Parts of OmegaConf's messages, and the type that the key expects."""

OPTION = re.compile(r"In '([\w/.-]+)': ")
"""Beginning of Hydra's message about a mistake in an option's file."""


def explain(error: Exception, arguments: Sequence[str], config: str) -> str:
    """One sentence on what is wrong with a command line.

    Args:
        error: Hydra's or OmegaConf's error.
        arguments: the command line without the command.
        config: name of the command's configuration.

    Returns:
        A message about the argument that caused the error; if none is found, the first line of the original error.
    """
    given = list(override_arguments(arguments))
    overrides = [override for override in given if not override.lstrip("+~").startswith("hydra")]
    for override in overrides:
        try:
            OverridesParser.create().parse_override(override)
        except HydraException as problem:
            return _unparsed(override, first_line(problem))
    try:
        with hydra_compose():
            cfg = compose_options(overrides, config)
    except (HydraException, OmegaConfBaseException, ValueError):
        return _in_option(error, config) or _first_line(error)
    if config in COMPOSED_OF_TRAINING and (refusal := _refused_by_table(overrides, cfg)) is not None:
        return refusal
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if str(error).startswith("Ambiguous value") and f"'{override}'" in str(error):
            return f"{override}: has several values; a list is written {key}=[{value}], and several runs need -m"
        if override.startswith("+") or is_group(key):
            continue
        if not has_key(cfg, key) and not isinstance(_root_cause(error), ValidationError):
            return _unknown_key(key, cfg)
        if key == _failing_key(error):
            return _wrong_value(key, value, cfg, _first_line(error))
    for override in (override for override in given if override not in overrides):
        key, _, value = override.lstrip("+~").partition("=")
        section, _, name = key.rpartition(".")
        if section and f"Key '{name}' not in" in _first_line(error):
            hint = "; those of a study need sweep=..., such as sweep=quality" if section == "hydra.sweeper" else ""
            return f"{override}: there is no such key{hint}"
        if _first_line(error) == f"field '{key}' is not Optional":
            searched = key.removeprefix("hydra.sweeper.params.")
            hint = f"; {searched}=... with one value takes it out of the search" if searched != key else ""
            return f"{override}: must be a value, not null{hint}"
        if value and f"'{value}'" in _first_line(error):
            return f"{override}: {_first_line(error)}"
    missing = _failing_key(error)
    if isinstance(_root_cause(error), MissingMandatoryValue) and missing:
        return f"{missing} has no default and must be given: {missing}=..."
    return _first_line(error)


QUOTES = ("'", '"')

SWEEP_FUNCTIONS = ("choice(", "interval(", "range(", "tag(", "shuffle(", "sort(", "glob(")
"""Beginnings of values that stand for several values."""


def _unparsed(override: str, reason: str) -> str:
    key, _, value = override.partition("=")
    if value.startswith(SWEEP_FUNCTIONS):
        return f"{override}: {reason}"
    if value.startswith("[") and value.endswith("]"):  # a text in quotes would be no list
        items = [item.strip() for item in value[1:-1].split(",")]
        quoted = f"[{','.join(item if item[:1] in QUOTES else hydra_quote(item) for item in items)}]"
        return f"{override}: has characters with a special meaning; put each entry in quotes: {quote(f'{key}={quoted}')}"
    typed = quote(f"{key}={hydra_quote(value)}")
    return f"{override}: has characters with a special meaning; put the value in quotes: {typed}"


def _refused_by_table(overrides: Sequence[str], cfg: DictConfig) -> str | None:
    """The message about the first value that the table of allowed values excludes."""
    for override in overrides:
        parsed = OverridesParser.create().parse_override(override)
        allowed = allowed_at(parsed.key_or_group)
        if allowed is None or parsed.is_sweep_override() or parsed.is_delete() or is_group(parsed.key_or_group):
            continue
        key, _, value = override.lstrip("+").partition("=")
        if has_key(cfg, key) and not allowed.accepts(parsed.value()):
            section = OmegaConf.select(cfg, key, throw_on_missing=False)
            keys = f": {', '.join(f'{key}.{name}' for name in section)}" if OmegaConf.is_dict(section) and section else ""
            return f"{key}={value}: must be {allowed}{keys}"
    return None


def _unknown_key(key: str, cfg: DictConfig) -> str:
    similar = similar_key(key, dotted_keys(cfg))
    hint = f"; did you mean {similar}?" if similar else ""
    section, _, _ = key.rpartition(".")
    if not similar and section and OmegaConf.is_dict(content := OmegaConf.select(cfg, section)):
        hint = f"; {section} has {', '.join(str(name) for name in content if not str(name).startswith('_'))}"
    return f"{key}: there is no such key{hint or '; --help lists all keys'}"


def _in_option(error: Exception, config: str) -> str | None:
    """A mistake in the file of an option, which may be the user's own; None for another error."""
    file, key = OPTION.match(str(error)), _failing_key(error)
    if file is None or key is None:
        return None
    if isinstance(_root_cause(error), ConfigKeyError):
        with hydra_compose():
            return f"{file[1]}.yaml: {_unknown_key(key, compose_options([], config))}"
    reason = _first_line(error)
    expected = next((words for part, words in EXPECTED_TYPES.items() if part in reason), None)
    return f"{file[1]}.yaml: {key}: must be {expected}" if expected else f"{file[1]}.yaml: {key}: {reason}"


def _wrong_value(key: str, value: str, cfg: DictConfig, reason: str) -> str:
    """A value of the wrong type; ``reason`` is OmegaConf's message."""
    if OmegaConf.is_dict(section := OmegaConf.select(cfg, key, throw_on_missing=False)):
        return f"{key}={value}: {key} is a section; give one of its keys: {', '.join(f'{key}.{name}' for name in section)}"
    expected = next((words for part, words in EXPECTED_TYPES.items() if part in reason), None)
    return f"{key}={value}: must be {expected}" if expected else f"{key}={value}: {reason}"


def _failing_key(error: BaseException | None) -> str | None:
    """The key that OmegaConf names in an error or in one of its causes."""
    while error is not None:
        if key := getattr(error, "full_key", None):
            return str(key)
        error = _cause(error)
    return None


def _root_cause(error: BaseException) -> BaseException:
    while (cause := _cause(error)) is not None:
        error = cause
    return error


def _cause(error: BaseException) -> BaseException | None:
    """What led to an error; Hydra's own are raised without saying so."""
    return error.__cause__ or (error.__context__ if isinstance(error, ConfigCompositionException) else None)


def _first_line(error: BaseException) -> str:
    """First line of the root cause; the others are about Hydra's and OmegaConf's internals."""
    cause = _root_cause(error)
    if isinstance(cause, MissingConfigException) and cause.options and cause.missing_cfg_file:
        group, _, name = cause.missing_cfg_file.rpartition("/")
        return f"{group}={name}: no such option; {did_you_mean(name, list(cause.options), f'{group} has ')}"
    return first_line(cause)
