"""JSON that others may have written: read with one kind of error, and checked against the shape that its readers rely on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

LARGEST = 1e100
"""Largest magnitude of a number: with larger ones, sums and squares would overflow."""

Shape = Callable[[Any, str], None]
"""Raises ValueError unless a value, whose name in the file is given, has the shape."""


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or nested deeper than Python's stack allows.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that can be computed with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def number(value: Any, name: str) -> None:
    if not is_number(value):
        raise ValueError(f"{name} must be a number, not {_shorten(value)}")


def count(value: Any, name: str) -> None:
    if not (is_number(value) and isinstance(value, int)):
        raise ValueError(f"{name} must be a whole number, not {_shorten(value)}")


def real(value: Any, name: str) -> None:
    """A number, which may be NaN or infinite."""
    if not (isinstance(value, float) and not math.isfinite(value)):
        number(value, name)


def text(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {_shorten(value)}")


def anything(value: Any, name: str) -> None:
    """Any value: it is only shown."""


def flag(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {_shorten(value)}")


def optional(shape: Shape) -> Shape:
    """The shape, or None."""
    return lambda value, name: None if value is None else shape(value, name)


score = optional(real)


def list_of(shape: Shape) -> Shape:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{name} must be a list, not {_shorten(value)}")
        for n, item in enumerate(value):
            shape(item, f"{name}[{n}]")

    return check


def filled_list_of(shape: Shape) -> Shape:
    """A list of one or more values of the shape."""

    def check(value: Any, name: str) -> None:
        list_of(shape)(value, name)
        if not value:
            raise ValueError(f"{name} is empty")

    return check


def table_of(shape: Shape, **named: Shape) -> Shape:
    """A dictionary whose values have the shape; those of some keys another one."""

    def check(value: Any, name: str) -> None:
        for key, item in _items(value, name):
            named.get(key, shape)(item, f"{name}.{key}")

    return check


def record(needed: Mapping[str, Shape], others: Mapping[str, Shape] | None = None) -> Shape:
    """A dictionary with the keys ``needed``, in which those of ``others``, if they exist, have these shapes."""

    def check(value: Any, name: str) -> None:
        items = dict(_items(value, name))
        if missing := [key for key in needed if key not in items]:
            raise ValueError(f"{name}.{missing[0]} is missing")
        for key, shape in {**needed, **(others or {})}.items():
            if key in items:
                shape(items[key], f"{name}.{key}")

    return check


def _items(value: Any, name: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a dictionary, not {_shorten(value)}")
    return list(value.items())


def _shorten(value: Any) -> str:
    return repr(value)[:40] if not isinstance(value, int) or abs(value) < LARGEST else "a huge one"


PROTOCOLS = table_of(table_of(anything))

SCORES = table_of(score, images=count, protocols=PROTOCOLS)
"""Scores by name, the images that the generator had been trained on, and the protocols."""

SUMMARY_SHAPE = record(
    {},
    {
        **dict.fromkeys(("status", "name", "device"), text),
        **dict.fromkeys(("images",), count),
        **dict.fromkeys(("epochs", "seconds"), number),
        **dict.fromkeys(("epoch_seconds", "images_per_second", "peak_memory_mib"), optional(number)),
        **dict.fromkeys(("score", "git_commit"), optional(text)),
        **dict.fromkeys(("final", "best"), SCORES),
        "other_seconds": table_of(number),
        "parameters": table_of(count),
        "versions": table_of(text),
        "alarms": list_of(record({"alarm": text, "text": text, "images": count, "over": optional(count)})),
    },
)
"""``summary.json``."""

_RESULT = record({"protocol": table_of(anything), "scores": table_of(score)}, {"details": table_of(table_of(anything))})
EVALUATIONS_SHAPE = list_of(
    record({"results": table_of(_RESULT)}, {"time": text, "images": count, "checkpoint": optional(text)})
)
"""``scores.json``."""

_TRIAL = {"number": count, "state": text, "params": table_of(anything), "values": optional(list_of(real))}
_FIGURES = {
    **dict.fromkeys(("run", "name", "status"), text),
    "seed": count,
    "trial": optional(count),
    **dict.fromkeys(("score_name", "device"), optional(text)),
    "protocols": PROTOCOLS,
}


def _figures(value: Any, name: str) -> None:
    """The figures of a run of a trial: all but those of :data:`_FIGURES` are numbers."""
    record(_FIGURES)(value, name)
    table_of(score, **_FIGURES)(value, name)


_STUDY = record(
    {
        "objective": filled_list_of(text),
        "has_default": flag,
        "trials": list_of(record({**_TRIAL, "figures": list_of(_figures)})),
    },
    {"name": text, "space": table_of(anything), "importance": table_of(table_of(number)), "importance_measure": text},
)


def study_shape(value: Any, name: str) -> None:
    """``study.json``: the trials have a value of each objective."""
    _STUDY(value, name)
    for n, trial in enumerate(value["trials"]):
        if trial["values"] is not None and len(trial["values"]) != len(value["objective"]):
            raise ValueError(f"{name}.trials[{n}].values must be one for each objective")


EXPLORER_SHAPE = record(
    {
        **dict.fromkeys(("side", "nodes", "images"), count),
        "seeds": filled_list_of(count),
        "planes": list_of(text),
    }
)
"""``explorer.json``."""
