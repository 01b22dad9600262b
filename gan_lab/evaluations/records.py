"""Scores as they are kept, and as they are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from gan_lab.directory import ERROR, with_error, write_atomically
from gan_lab.metrics.suite import Result
from gan_lab.tracking.console import STDOUT

LONGEST_TABLE = 20
"""Rows of a table of details that are still printed; the file holds them all."""


def record(of: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """One evaluation as it is kept: when, of what, and for each protocol its record, scores and details."""
    found = {r.name: {"protocol": r.protocol, "scores": r.scores, "details": r.details} for r in results}
    return stamped({**of, "results": found})


def stamped(entry: Mapping[str, Any]) -> dict[str, Any]:
    """With the time of now."""
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}


def read(path: Path) -> list[dict[str, Any]]:
    """The evaluations kept in a file, oldest first; none where there is no file.

    Raises:
        ValueError: it holds something else.
    """
    if not path.exists():
        return []
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(kept, list) and all("results" in entry for entry in kept)
    except (ValueError, AssertionError, TypeError) as error:
        raise ValueError(f"{path} holds no scores of gan_lab; give another out=, or remove it") from error
    return kept


def append(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Add evaluations to those kept."""
    write_atomically(path, json.dumps([*read(path), *records], indent=1) + "\n")


def show(records: Mapping[str, Mapping[str, Any]]) -> None:
    """A table for each protocol, a column for each evaluation by its name."""
    protocols = dict.fromkeys(name for entry in records.values() for name in entry["results"])
    for protocol in protocols:
        results = {name: entry["results"][protocol] for name, entry in records.items() if protocol in entry["results"]}
        first = next(iter(results.values()))["protocol"]
        STDOUT.print(f"\n[bold]{protocol}[/bold]: {_spell(first)}", soft_wrap=True)
        STDOUT.print(table({name: result["scores"] for name, result in results.items()}))
        for title in dict.fromkeys(title for result in results.values() for title in result["details"]):
            tables = {name: result["details"].get(title, {}) for name, result in results.items()}
            if max(map(len, tables.values())) <= LONGEST_TABLE:
                STDOUT.print(title)
                STDOUT.print(table(tables))


def table(columns: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), show_header=len(columns) > 1)
    table.add_column("", style="cyan")
    for name in columns:
        table.add_column(name, justify="right")
    for name in dict.fromkeys(name for scores in columns.values() for name in scores):
        if not name.endswith(ERROR):
            table.add_row(name, *(with_error(scores, name) for scores in columns.values()))
    return table


def _spell(protocol: Mapping[str, Any]) -> str:
    """A protocol in a line."""
    return (
        f"{protocol['data']}, {protocol['fakes']:,} fakes against {protocol['reals']}, in features of {protocol['features']} "
        f"({protocol['features_hash']}), covariance over {protocol['covariance']}, {protocol['batch_norm']} batch norm"
    )
