"""``--help`` of a command, generated from the comments of ``conf/*.yaml`` without importing Hydra, which takes seconds."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import OmegaConf

from gan_lab.config.allowed_types import Items, Number
from gan_lab.config.allowed_values import allowed_at
from gan_lab.config.schema import COMPOSED_OF_TRAINING, CONF_DIR

WIDTH = 80
HIDDEN_GROUPS = frozenset({"hydra", "wandb"})
HIDDEN_SECTIONS = frozenset({"defaults", "hydra"})
HELP = "override hydra/help"
ABSURDLY_SMALL, ABSURDLY_LARGE = 1e-6, 1e4
"""Limits beyond these only exclude absurd values, and are left out."""


class Key(NamedTuple):
    """A line of a YAML file: a key with its default and comment, or a heading (``name`` is empty)."""

    name: str
    default: str
    comment: str


def format_help(config: str, arguments: Sequence[str] = ()) -> str:
    """The help of the command whose configuration is ``conf/<config>.yaml``.

    Args:
        config: name of the configuration.
        arguments: the command line; the keys of options it chooses (``model=sngan``) are explained too.
    """
    file = CONF_DIR / f"{config}.yaml"
    defaults = OmegaConf.load(file).defaults
    chosen = next(default[HELP] for default in defaults if OmegaConf.is_dict(default) and HELP in default)
    page = OmegaConf.load(CONF_DIR / "hydra" / "help" / f"{chosen}.yaml")
    parts = [_wrap(page.header)]
    options = [argument.split("=", 1) for argument in arguments if re.fullmatch(r"[a-z_]+=[\w\[\],]+", argument)]
    asked = [(group, name) for group, names in options for name in names.strip("[]").split(",")]
    asked = [(group, name) for group, name in asked if (CONF_DIR / group / f"{name}.yaml").is_file()]
    if asked:
        parts += [_format_option(group, name) for group, name in asked]
    else:
        groups = _default_options(file)
        if groups:
            parts.append("Choices, as group=option; * marks the default:\n\n" + "\n".join(_format_groups(groups)))
        keys = _keys(file)
        described = [_with_allowed(key) for key in keys] if config in COMPOSED_OF_TRAINING else keys
        parts.append("Keys, as key=value, with their defaults:\n\n" + "\n".join(_format_keys(described)))
        if groups:
            parts.append(
                _wrap(
                    "More keys: those of a choice, such as model=sngan --help. --cfg job prints the whole composed "
                    "configuration; --hydra-help lists Hydra's own flags."
                )
            )
    parts.append("Examples:\n" + "\n".join(f"  {line}" for line in str(page.footer).strip().splitlines()))
    return "\n\n".join(parts)


def _default_options(file: Path) -> dict[str, list[str]]:
    """The default option, or list of options, of each group of a configuration and of those it includes."""
    found: dict[str, list[str]] = {}
    for default in OmegaConf.load(file).defaults:
        if isinstance(default, str):
            if default not in ("_self_",) and (included := CONF_DIR / f"{default}.yaml").is_file() and included != file:
                found |= _default_options(included) if "defaults" in OmegaConf.load(included) else {}
            continue
        for group, option in default.items():
            if not str(group).startswith("override") and (CONF_DIR / str(group)).is_dir():
                found[str(group)] = list(option) if OmegaConf.is_list(option) else [str(option)]
    shown = {group: names for group, names in found.items() if group not in HIDDEN_GROUPS}
    return {group: shown[group] for group in sorted(shown, key=lambda group: group != "model")}


def _format_groups(groups: dict[str, list[str]]) -> Iterator[str]:
    width = max(map(len, groups)) + 3
    for group, chosen in groups.items():
        names = sorted(file.stem for file in (CONF_DIR / group).glob("*.yaml"))
        marked = ", ".join(f"{name}*" if name in chosen else name for name in names)
        yield textwrap.fill(marked, WIDTH, initial_indent=f"  {group:<{width - 2}}", subsequent_indent=" " * width)


def _format_option(group: str, name: str) -> str:
    """Description and keys of one option."""
    file = CONF_DIR / group / f"{name}.yaml"
    about = [
        line[2:] for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# ") and "@package" not in line
    ]
    keys = [key for key in _keys(file) if key.name]
    prefix = "" if "# @package _global_" in file.read_text(encoding="utf-8") else f"{group}."
    named = [key._replace(name=prefix + key.name) for key in keys if "_target_" not in key.name]
    described = [_with_allowed(key) for key in named]
    return "\n".join([f"{group}={name}", *(_wrap(line, "  ") for line in about[:1]), "", *_format_keys(described)])


def _with_allowed(key: Key) -> Key:
    """The key with its range from the table of allowed values in brackets behind its comment, as ``[from 0 to 1]``."""
    allowed = allowed_at(key.name)
    each, entry = ("each ", allowed.of) if isinstance(allowed, Items) else ("", allowed)
    if "${" in key.default or not isinstance(entry, Number) or not (ends := _ends(entry)):
        return key
    return key._replace(comment=f"{key.comment} [{each}{ends}]".lstrip())


def _ends(allowed: Number) -> str:
    """Both ends of an interval in short."""
    least, most = allowed.least, allowed.most
    above = allowed.above or 0 < least <= ABSURDLY_SMALL
    low = f"{'above' if above else 'from'} {0 if least <= ABSURDLY_SMALL else least:g}" if least >= 0 else f"from {least:g}"
    high = f"to {'below ' if allowed.below else ''}{most:g}" if most < ABSURDLY_LARGE else ""
    return " ".join(end for end in ("" if least == -math.inf else low, high) if end)


def _keys(file: Path) -> list[Key]:
    """The keys of a YAML file with dotted names, and its comment lines as headings."""
    found: list[Key] = []
    parents: list[tuple[int, str]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        indent = len(line) - len(line.lstrip())
        if line.startswith("# ") and found:
            found.append(Key("", "", line[2:]))
        match = re.match(r"\s*([\w/]+):(?:\s+(.*?))?\s*$", line)
        if not match or line.lstrip().startswith(("#", "-")):
            continue
        parents = [(depth, name) for depth, name in parents if depth < indent]
        value, _, comment = (
            re.split(r"(?:^|\s+)(#)\s", match[2] or "", maxsplit=1) if "# " in (match[2] or "") else (match[2] or "", "", "")
        )
        name = ".".join([*(name for _, name in parents), match[1]])
        parents.append((indent, match[1]))
        if name.partition(".")[0] not in HIDDEN_SECTIONS:
            found.append(Key(name, value.strip(), comment.strip()))
    nested = {key.name.rpartition(".")[0] for key in found}
    return [key for key in found if key.name not in nested or key.comment]


def _format_keys(keys: Sequence[Key]) -> Iterator[str]:
    """One line for each key; a long comment continues below."""
    for key in keys:
        if not key.name:
            yield f"\n{_wrap(key.comment, '  ')}:"
            continue
        head = f"  {key.name}={key.default}" if key.default else f"  {key.name}"
        if not key.comment:
            yield head
        elif len(head) < 34:
            yield textwrap.fill(key.comment, WIDTH, initial_indent=f"{head:<34}", subsequent_indent=" " * 34)
        else:
            yield head
            yield textwrap.fill(key.comment, WIDTH, initial_indent=" " * 34, subsequent_indent=" " * 34)


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(" ".join(str(text).split()), WIDTH, initial_indent=indent, subsequent_indent=indent)
