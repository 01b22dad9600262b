"""What a value may be, and how a message says it: numbers in an interval, names, switches, texts, lists, sections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol


class Allowed(Protocol):
    """The values that a key may have; ``str()`` says in words what they are."""

    def accepts(self, value: Any) -> bool:
        """Whether a value, of plain Python types, is one of them."""


@dataclass(frozen=True)
class Number:
    """Finite numbers in an interval.

    Attributes:
        least, most: its ends, which belong to it.
        above: whether ``least`` itself is excluded.
        below: whether ``most`` itself is excluded.
        whole: whether only whole numbers are allowed.
        words: further values, such as ``auto``; ``null`` stands for None.
        more: a remark that the message ends with.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()
    more: str = ""

    def accepts(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return _word(value) in self.words
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float) or not _is_finite(value):
            return False
        over = value > self.least if self.above else value >= self.least
        under = value < self.most if self.below else value <= self.most
        return over and under

    def __str__(self) -> str:
        low = [] if self.least == -math.inf else [f"{'above' if self.above else 'at least'} {_shown(self.least)}"]
        high = [] if self.most == math.inf else [f"{'below' if self.below else 'at most'} {_shown(self.most)}"]
        return f"a {'whole ' if self.whole else ''}number{_and(' and '.join(low + high))}{_or(self.words)}{self.more}"


@dataclass(frozen=True)
class Choice:
    """One of several names; ``null`` stands for None."""

    names: tuple[str, ...]

    def accepts(self, value: Any) -> bool:
        return (value is None or isinstance(value, str)) and _word(value) in self.names

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"


@dataclass(frozen=True)
class Switch:
    """``true`` or ``false``, or one of ``words``."""

    words: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool) or ((value is None or isinstance(value, str)) and _word(value) in self.words)

    def __str__(self) -> str:
        return f"true or false{_or(self.words)}"


@dataclass(frozen=True)
class Text:
    """A text that is not empty; with ``null`` also None."""

    null: bool = False

    def accepts(self, value: Any) -> bool:
        return self.null if value is None else isinstance(value, str) and bool(value)

    def __str__(self) -> str:
        return f"a text that is not empty{_or(('null',) if self.null else ())}"


@dataclass(frozen=True)
class Items:
    """A list of allowed values, or what the list stands beside.

    Attributes:
        of: what each entry may be.
        length: number of entries; None: any.
        ordered: whether no entry may be smaller than the one before it.
        words: values other than a list.
    """

    of: Allowed
    length: int | None = None
    ordered: bool = False
    words: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return _word(value) in self.words
        if not isinstance(value, list) or (self.length is not None and len(value) != self.length):
            return False
        return all(map(self.of.accepts, value)) and not (self.ordered and any(a > b for a, b in pairwise(value)))

    def __str__(self) -> str:
        many = "a list" if self.length is None else f"a list of {self.length}"
        order = ", the smaller one first" if self.ordered else ""
        return f"{many}, each {self.of}{order}{_or(self.words)}"


@dataclass(frozen=True)
class Section:
    """A section with keys of its own; with ``null`` it may be left out."""

    null: bool = False

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict) or (value is None and self.null)

    def __str__(self) -> str:
        return f"a section{_or(('null',) if self.null else ())}; give one of its keys"


@dataclass(frozen=True)
class Either:
    """What one of several allows."""

    options: tuple[Allowed, ...]

    def accepts(self, value: Any) -> bool:
        return any(option.accepts(value) for option in self.options)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.options))


class Anything:
    """Any value: what it may be is checked where it is read."""

    def accepts(self, value: Any) -> bool:
        return True

    def __str__(self) -> str:
        return "anything"


def _word(value: str | None) -> str:
    return "null" if value is None else value


def _and(text: str) -> str:
    return f", {text}" if text else ""


def _or(words: Sequence[str]) -> str:
    return f", or {' or '.join(words)}" if words else ""


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e16 else f"{value:g}"


def _is_finite(value: int | float) -> bool:
    return isinstance(value, int) or math.isfinite(value)
