"""Looks up names and keys that a user typed, and suggests similar ones for unknown names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from gan_lab.utils.formatting import printable

SYNONYMS = {"learning_rate": "lr", "epoch": "epochs", "batchsize": "batch_size", "bs": "batch_size", "gpu": "device"}
"""Names that users type for configuration keys."""


Typed = str | int | float | bool | None
"""A name on the command line, where ``true``, ``null`` and ``1.5`` are read as values of other types."""


def as_typed(name: Typed) -> str:
    """A name as the user typed it: ``true`` for True, ``null`` for None."""
    return {True: "true", False: "false", None: "null"}[name] if name is None or isinstance(name, bool) else str(name)


def as_names(given: Any, key: str) -> list[Typed] | None:
    """A name or a list of names as a list; None if none is given.

    Raises:
        ValueError: an entry is itself a list or a section, as names in brackets or braces are without quotes.
    """
    if given is None:
        return None
    names = [given] if isinstance(given, str | int | float) else list(given)
    if wrong := [name for name in names if not (name is None or isinstance(name, str | int | float))]:
        raise ValueError(f"{key}={given}: {wrong[0]} is no name; a name with brackets is written in quotes: \"'[red]'\"")
    return names


def index_of_name(name: Typed, names: Sequence[str], key: str) -> int:
    """The index in ``names`` of an entry given by its name or its number.

    Args:
        name: the entry, in lower or upper case; a number that is itself one of ``names`` counts as a name.
        names: all entries.
        key: configuration key that ``name`` comes from, for the message.

    Raises:
        ValueError: there is no such entry, or there are several that differ only in case.
    """
    text = as_typed(name)
    if text in names:
        return names.index(text)
    if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(names):
        return name
    folded = [_fold(other) for other in names]
    matches = [other for other, same in zip(names, folded, strict=True) if same == _fold(text)]
    if len(matches) == 1:
        return names.index(matches[0])
    if matches:
        raise ValueError(f"{key}: {text} may be {' or '.join(matches)}; write it in the same case")
    close = get_close_matches(_fold(text), list(dict.fromkeys(folded)), n=3)
    similar = [name for near in close for name, same in zip(names, folded, strict=True) if same == near] or list(names[:10])
    suggested = ", ".join(map(printable, similar))
    quotes = f"; in quotes it is text: \"'{text}'\"" if isinstance(name, float) else ""
    raise ValueError(f"{key}: there is no {printable(text)}; did you mean {suggested}? ({len(names)} names in all{quotes})")


def _fold(name: str) -> str:
    """The name without differences in case, and with accents in one form."""
    return unicodedata.normalize("NFC", name).casefold()


def similar_key(key: str, known: Sequence[str]) -> str | None:
    """The dotted key among ``known`` that a mistyped ``key`` most likely stands for, or None if none is similar.

    Tried in this order: a similar full name, the same last part in the same section, then in a part of it, then anywhere, a
    similar last part.
    """
    if similar := get_close_matches(key, known, n=1, cutoff=0.75):
        return similar[0]
    section, _, last = key.rpartition(".")
    last = SYNONYMS.get(last, last)
    same_section = [name for name in known if name.rpartition(".")[0] == section]
    within = [name for name in known if section and name.startswith(f"{section}.")]
    last_parts = [name.rpartition(".")[2] for name in known]
    if exact := next((name for name in (*same_section, *within, *known) if name.rpartition(".")[2] == last), None):
        return exact
    similar = get_close_matches(key.rpartition(".")[2], last_parts, n=1, cutoff=0.8)
    return known[last_parts.index(similar[0])] if similar else None


def did_you_mean(name: str, options: Sequence[str], listing: str = "known are ") -> str:
    """``did you mean dcgan? known are dcgan, sngan``; only the list if no option is similar to ``name``."""
    similar = get_close_matches(name, options, n=1)
    return (f"did you mean {similar[0]}? " if similar else "") + f"{listing}{', '.join(options)}"
