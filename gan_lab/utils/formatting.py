"""How numbers are written in the console, on pages, in tables and in log lines."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

CI_SUFFIX = "_ci95"
"""Suffix of the name of a metric's error, the half-width of its 95 % confidence interval."""

PASSWORD = re.compile(r"""(://[^:/@\s'"]*:)[^@\s'"]*(?=@)|([?&]password=)[^&\s'"]*""")
"""The password of a URL: ``scheme://user:password@host``, or ``?password=...`` at its end."""


def format_number(value: float) -> str:
    """Four significant digits, ``0.5812``; from 1,000 on an integer with thousands separators, ``12,346``."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def decimals_of_error(error: float) -> int:
    """Decimal places of an error at two significant digits: 3 for 0.0123, -1 for 321."""
    return 1 - int(f"{error:.1e}".partition("e")[2])


def format_with_decimals(value: float, decimals: int) -> str:
    """Round to ``decimals`` places, negative ones to tens, hundreds and so on: ``1,450`` for 1446.2 and -1."""
    return f"{round(value, decimals) + 0.0:,.{max(0, decimals)}f}"  # adding 0 turns -0.0 into 0.0


def format_with_error(value: float, error: float | None) -> str:
    """The error to two significant digits and the value to the same place, ``5.31 ± 0.12``.

    Without an error, or with one of 0 or infinity, the value as :func:`format_number` writes it.
    """
    if error is None or not 0 < error < math.inf or not math.isfinite(value):
        return format_number(value)
    decimals = decimals_of_error(error)
    return f"{format_with_decimals(value, decimals)} ± {format_with_decimals(error, decimals)}"


def format_with_ci(metrics: Mapping[str, Any], name: str) -> str:
    """The metric ``name`` with its error ``<name>_ci95``, if it has one: ``5.31 ± 0.12``; empty if it is missing or None."""
    value = metrics.get(name)
    return "" if value is None else format_with_error(value, metrics.get(f"{name}{CI_SUFFIX}"))


def format_duration(seconds: float) -> str:
    """A time span: ``1 h 20 min``, ``3 min 5 s``, ``4.2 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def format_count(count: float, noun: str) -> str:
    """A number of things: ``1 run``, ``1,200 runs``, ``0.5 epochs``."""
    number = f"{count:,}" if isinstance(count, int) else format_number(count)
    return f"{number} {noun}{'' if count == 1 else 's'}"


def printable(name: str) -> str:
    r"""A name in one line: line breaks and other control characters as ``\n``, ``\x1b``."""
    unprintable = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of a character, separators of lines
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in unprintable else c for c in name)


def printable_lines(text: str) -> str:
    """A text whose line breaks stay, with spaces for tabs, and other control characters as :func:`printable` writes them."""
    return "\n".join(map(printable, text.expandtabs(4).split("\n")))


def hide_passwords(value: Any) -> Any:
    """A text with ``***`` in place of the passwords of URLs; of lists and dictionaries all texts in them."""
    if isinstance(value, str):
        return PASSWORD.sub(r"\1\2***", value)
    if isinstance(value, Mapping):
        return {name: hide_passwords(item) for name, item in value.items()}
    return [hide_passwords(item) for item in value] if isinstance(value, list | tuple) else value


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
