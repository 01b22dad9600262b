"""Stores evaluations as JSON and prints them as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from gan_lab.metrics.full_reference_suite import BICUBIC, PROTOCOL_NAME
from gan_lab.metrics.suite import Result
from gan_lab.storage.files import file_lock, write_atomically
from gan_lab.storage.run_directory import read_evaluations
from gan_lab.utils.formatting import CI_SUFFIX, format_with_ci, printable
from gan_lab.utils.terminal import STDOUT, print_table

MAX_PRINTED_ROWS = 20
"""Longer tables of details are not printed; they are in the file."""


def record(evaluated: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """The entry of an evaluation: the time, what was evaluated, and for each protocol its record, scores and details."""
    by_protocol = {r.name: {"protocol": r.protocol, "scores": r.scores, "details": r.details} for r in results}
    return with_time({**evaluated, "results": by_protocol})


def with_time(entry: Mapping[str, Any]) -> dict[str, Any]:
    """``entry`` with the current time (UTC)."""
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}


def check_writable(path: Path) -> None:
    """Check, before anything is measured, that evaluations can be appended to ``path``.

    Raises:
        ValueError: the path is a folder, contains something else, or is not writable.
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
    """Append evaluations to the JSON list in ``path``."""
    with file_lock(_lock(path), "another process is writing scores there; waiting for it"):
        write_atomically(path, json.dumps([*read_evaluations(path), *records], indent=1) + "\n")


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def print_scores(records: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table for each protocol with one column for each evaluation.

    Args:
        records: entries of evaluations, as :func:`record` returns them, by the title of their column.
    """
    protocols = dict.fromkeys(name for entry in records.values() for name in entry["results"])
    for protocol in protocols:
        results = {name: entry["results"][protocol] for name, entry in records.items() if protocol in entry["results"]}
        first = next(iter(results.values()))["protocol"]
        STDOUT.print(Text.assemble("\n", (protocol, "bold"), f": {_describe(first)}"), soft_wrap=True)
        print_columns(_separate_bicubic({name: result["scores"] for name, result in results.items()}))
        if protocol == PROTOCOL_NAME:
            continue  # a table for each image, only for the file
        for title in dict.fromkeys(title for result in results.values() for title in result["details"]):
            tables = {name: result["details"].get(title, {}) for name, result in results.items()}
            if max(map(len, tables.values())) <= MAX_PRINTED_ROWS:
                STDOUT.print(f"\n{printable(title)}")
                print_columns(tables)


def _separate_bicubic(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Move the scores of bicubic interpolation, which are equal in all evaluations, to a column of their own."""
    own = {title: {n: v for n, v in column.items() if not n.startswith(BICUBIC)} for title, column in scores.items()}
    bicubic = {n.removeprefix(BICUBIC): v for column in scores.values() for n, v in column.items() if n.startswith(BICUBIC)}
    return own | ({"bicubic": bicubic} if bicubic else {})


def print_columns(columns: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table with a row for each score and a column for each mapping, titled by its key unless it is the only one."""
    names = [name for name in dict.fromkeys(n for scores in columns.values() for n in scores) if not name.endswith(CI_SUFFIX)]
    titles = ["", *columns] if len(columns) > 1 else ["", ""]
    print_table(titles, [[name, *(format_with_ci(scores, name) for scores in columns.values())] for name in names])


def _describe(protocol: Mapping[str, Any]) -> str:
    """The record of a protocol in one line."""
    if protocol["protocol"] == PROTOCOL_NAME:
        return f"{protocol['reals']}, downscaled by {protocol['scale']}: {protocol['degradation']}"
    return (
        f"{protocol['data']}, {protocol['fakes']:,} fakes against {protocol['reals']}, features: {protocol['features']} "
        f"(hash {protocol['features_hash']}), covariance over {protocol['covariance']}, {protocol['batch_norm']} batch norm "
        "statistics"
    )
