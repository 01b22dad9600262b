"""Looks up names and keys that a user typed, and suggests similar ones for unknown names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

SYNONYMS = {"learning_rate": "lr", "epoch": "epochs", "batchsize": "batch_size", "bs": "batch_size", "gpu": "device"}
"""Names that users type for configuration keys."""


def index_of_name(name: str | int, names: Sequence[str], key: str) -> int:
    """The index in ``names`` of an entry given by its name or its number.

    Args:
        name: the entry; a number that is itself one of ``names`` counts as a name.
        names: all entries.
        key: configuration key that ``name`` comes from, for the message.

    Raises:
        ValueError: there is no such entry.
    """
    if str(name) in names:
        return names.index(str(name))
    if isinstance(name, int) and 0 <= name < len(names):
        return name
    similar = get_close_matches(str(name), names, n=3) or list(names[:10])
    raise ValueError(f"{key}: there is no {name}; did you mean {', '.join(similar)}? ({len(names)} names in all)")


def similar_key(key: str, known: Sequence[str]) -> str | None:
    """The dotted key among ``known`` that a mistyped ``key`` most likely stands for, or None if none is similar.

    Tried in this order: a similar full name, the same last part in the same section, then anywhere, a similar last part.
    """
    if similar := get_close_matches(key, known, n=1, cutoff=0.75):
        return similar[0]
    section, _, last = key.rpartition(".")
    last = SYNONYMS.get(last, last)
    same_section = [name for name in known if name.rpartition(".")[0] == section]
    last_parts = [name.rpartition(".")[2] for name in known]
    if exact := next((name for name in (*same_section, *known) if name.rpartition(".")[2] == last), None):
        return exact
    similar = get_close_matches(key.rpartition(".")[2], last_parts, n=1, cutoff=0.8)
    return known[last_parts.index(similar[0])] if similar else None


def did_you_mean(name: str, options: Sequence[str], listing: str = "known are ") -> str:
    """``did you mean dcgan? known are dcgan, sngan``; only the list if no option is similar to ``name``."""
    similar = get_close_matches(name, options, n=1)
    return (f"did you mean {similar[0]}? " if similar else "") + f"{listing}{', '.join(options)}"
