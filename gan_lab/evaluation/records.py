"""Scores as they are kept, and as they are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from gan_lab.metrics.full_reference_suite import BICUBIC, PROTOCOL_NAME
from gan_lab.metrics.suite import Result
from gan_lab.storage.files import file_lock, write_atomically
from gan_lab.storage.run_directory import read_evaluations
from gan_lab.utils.formatting import CI_SUFFIX, format_with_ci
from gan_lab.utils.terminal import STDOUT

LONGEST_TABLE = 20
"""Rows of a table of details that are still printed; the file holds them all."""


def record(of: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """One evaluation as it is kept: when, of what, and for each protocol its record, scores and details."""
    found = {r.name: {"protocol": r.protocol, "scores": r.scores, "details": r.details} for r in results}
    return with_time({**of, "results": found})


def with_time(entry: Mapping[str, Any]) -> dict[str, Any]:
    """With the time of now."""
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}


def check_writable(path: Path) -> None:
    """See, before anything is measured, that scores can be added to ``path``.

    Raises:
        ValueError: it holds something else, or can't be written.
    """
    try:
        if path.is_dir():
            raise ValueError(f"out={path} is a folder: give a file")
        read_evaluations(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(_lock(path), "another process is writing scores there; waiting for it"):
            pass
    except OSError as error:
        raise ValueError(f"out={path} can't be written ({error.strerror or error})") from error


def append(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Add evaluations to those kept."""
    with file_lock(_lock(path), "another process is writing scores there; waiting for it"):
        write_atomically(path, json.dumps([*read_evaluations(path), *records], indent=1) + "\n")


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def print_scores(records: Mapping[str, Mapping[str, Any]]) -> None:
    """A table for each protocol, a column for each evaluation by its name."""
    protocols = dict.fromkeys(name for entry in records.values() for name in entry["results"])
    for protocol in protocols:
        results = {name: entry["results"][protocol] for name, entry in records.items() if protocol in entry["results"]}
        first = next(iter(results.values()))["protocol"]
        STDOUT.print(f"\n[bold]{protocol}[/bold]: {_spell(first)}", soft_wrap=True)
        STDOUT.print(table(_columns({name: result["scores"] for name, result in results.items()})))
        if protocol == PROTOCOL_NAME:
            continue  # a table of each picture is for the file
        for title in dict.fromkeys(title for result in results.values() for title in result["details"]):
            tables = {name: result["details"].get(title, {}) for name, result in results.items()}
            if max(map(len, tables.values())) <= LONGEST_TABLE:
                STDOUT.print(title)
                STDOUT.print(table(tables))


def _columns(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """With those of bicubic interpolation, the same for all, in a column of their own."""
    own = {name: {n: v for n, v in of.items() if not n.startswith(BICUBIC)} for name, of in scores.items()}
    beside = {n.removeprefix(BICUBIC): v for of in scores.values() for n, v in of.items() if n.startswith(BICUBIC)}
    return own | ({"bicubic": beside} if beside else {})


def table(columns: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), show_header=len(columns) > 1)
    table.add_column("", style="cyan")
    for name in columns:
        table.add_column(name, justify="right")
    for name in dict.fromkeys(name for scores in columns.values() for name in scores):
        if not name.endswith(CI_SUFFIX):
            table.add_row(name, *(format_with_ci(scores, name) for scores in columns.values()))
    return table


def _spell(protocol: Mapping[str, Any]) -> str:
    """A protocol in a line."""
    if protocol["protocol"] == PROTOCOL_NAME:
        return f"{protocol['reals']}, made {protocol['scale']} times smaller by {protocol['degradation']}"
    return (
        f"{protocol['data']}, {protocol['fakes']:,} fakes against {protocol['reals']}, in features of {protocol['features']} "
        f"({protocol['features_hash']}), covariance over {protocol['covariance']}, {protocol['batch_norm']} batch norm"
    )
