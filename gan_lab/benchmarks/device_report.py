"""The result of ``benchmark=device``: a table of checks, and tables of speeds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gan_lab.benchmarks.device_checks import OUT_OF_TIME
from gan_lab.benchmarks.device_speed import BARE, CAPTURED, EAGER, TUTORIAL
from gan_lab.benchmarks.timing import print_notes
from gan_lab.utils.terminal import print_table

LOOPS = (BARE, EAGER, CAPTURED, TUTORIAL)
MAX_MESSAGE = 200
"""Characters of a printed message; the file has all of them."""

MAX_NAMES = 3
"""Largest number of names in front of a message."""

TERA = 1e12


@dataclass
class DeviceResult:
    """Checks and speeds of one device.

    Attributes:
        facts: the device and versions.
        checks: for each check, in the order in which they ran, ``name``, ``subject``, ``precision``, ``status``, ``message``
            and ``seconds``.
        convolution: FLOP/s of a large convolution, by precision.
        speeds: for each network and precision ``batch_size``, ``seconds`` of an iteration by loop, ``flops`` of an iteration
            and ``note``; if it was not measured, ``error`` or ``skipped`` instead.
        seconds: duration of the whole benchmark.
    """

    facts: Mapping[str, Any]
    checks: list[dict[str, Any]]
    convolution: dict[str, float]
    speeds: list[dict[str, Any]]
    seconds: float

    file_name = "device.json"

    def print(self) -> None:
        self._print_checks()
        self._print_speeds()
        print_notes("", ", ".join(f"{name} {value}" for name, value in self.facts.items()), f"{self.seconds:.0f} s in total")

    def to_dict(self) -> dict[str, Any]:
        """The content of ``device.json``."""
        return {
            "facts": dict(self.facts),
            "seconds": self.seconds,
            "checks": self.checks,
            "convolution_tflops": {precision: rate / TERA for precision, rate in self.convolution.items()},
            "speeds": [row | self._derived(row) if "seconds" in row else row for row in self.speeds],
        }

    def _derived(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Images per second, TFLOP/s, and those as a fraction of the large convolution's, by loop."""
        seconds = {loop: statistics.median(values) for loop, values in row["seconds"].items()}
        result: dict[str, Any] = {"images_per_second": {loop: row["batch_size"] / value for loop, value in seconds.items()}}
        if row["flops"] is None:
            return result
        rates = {loop: row["flops"] / value for loop, value in seconds.items() if loop != TUTORIAL}
        result["tflops"] = {loop: rate / TERA for loop, rate in rates.items()}
        if largest := self.convolution.get(row["precision"]):
            result["fraction_of_convolution"] = {loop: rate / largest for loop, rate in rates.items()}
        return result

    def _print_checks(self) -> None:
        """One row per subject, one column per precision, and the messages that say more than that everything was identical."""
        precisions = list(dict.fromkeys(row["precision"] for row in self.checks))
        status = {(row["subject"], row["precision"]): _status(row) for row in self.checks}
        subjects = dict.fromkeys(row["subject"] for row in self.checks)
        rows = [[subject, *(status.get((subject, precision), "") for precision in precisions)] for subject in subjects]
        counts = Counter(status.values())
        print_table(["check", *precisions], rows, [", ".join(f"{count} {name}" for name, count in counts.items())])
        _print_messages(
            (row["name"], f"{row['status']}, {row['message']}")
            for row in self.checks
            if row["message"] != OUT_OF_TIME and not row["message"].endswith("identical")
        )

    def _print_speeds(self) -> None:
        cells = {(row["network"], row["precision"]): self._derived(row) for row in self.speeds if "seconds" in row}
        precisions = list(dict.fromkeys(row["precision"] for row in self.speeds))
        rows = []
        for network in dict.fromkeys(network for network, _ in cells):
            for loop in LOOPS:
                rates = [cells.get((network, p), {}).get("images_per_second", {}).get(loop) for p in precisions]
                if any(rates):
                    rows.append([f"{network}: {loop}", *("" if rate is None else f"{rate:,.0f}" for rate in rates)])
        if rows:
            print_table(["images/s", *precisions], rows)
        rows = [["large convolution", *(_format_tflops(self.convolution.get(precision)) for precision in precisions)]]
        for network in dict.fromkeys(network for network, _ in cells):
            rows.append([f"{network}: {CAPTURED}", *(_format_cell(cells.get((network, p), {})) for p in precisions)])
        print_table(["TFLOP/s", *precisions], rows)
        problems = ((f"{row['network']}, {row['precision']}", _problem(row)) for row in self.speeds)
        _print_messages((name, problem) for name, problem in problems if problem)


def _print_messages(messages: Iterable[tuple[str, str]]) -> None:
    """Print each message after the names that it belongs to."""
    names: dict[str, list[str]] = {}
    for name, message in messages:
        names.setdefault(_shorten(message), []).append(name)
    print_notes(*(f"{_join(together)}: {message}" for message, together in names.items()))


def _join(names: list[str]) -> str:
    """All names, or the first and the number of the others."""
    return "; ".join(names) if len(names) <= MAX_NAMES else f"{names[0]} and {len(names) - 1} others"


def _status(row: Mapping[str, Any]) -> str:
    return "skipped (time)" if row["message"] == OUT_OF_TIME else str(row["status"])


def _problem(row: Mapping[str, Any]) -> str:
    """Why a speed was not measured, or a part of it; empty if all was."""
    if "skipped" in row:
        return f"skipped, {row['skipped']}"
    return f"failed, {row['error']}" if "error" in row else str(row.get("note", ""))


def _format_tflops(rate: float | None) -> str:
    return "" if rate is None else f"{rate / TERA:.3g}"


def _format_cell(derived: Mapping[str, Mapping[str, float]]) -> str:
    """The captured loop's TFLOP/s and, in brackets, its fraction of the large convolution's."""
    if CAPTURED not in derived.get("tflops", {}):
        return ""
    fraction = derived.get("fraction_of_convolution", {}).get(CAPTURED)
    return f"{derived['tflops'][CAPTURED]:.3g}" + ("" if fraction is None else f" ({fraction:.0%})")


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"
