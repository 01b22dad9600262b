"""Looks up a name that a user has typed, and suggests similar ones if it is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


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
