"""A page that compares runs: scores, differences of their configurations, grids at the same clock, curves over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_lab.reporting.charts import CLOCKS
from gan_lab.reporting.configurations import Configuration, group_by_configuration
from gan_lab.reporting.films import Film, read_frames, relative_link
from gan_lab.reporting.metric_charts import RUN_COLORS, compared_charts
from gan_lab.reporting.pages import render_page
from gan_lab.reporting.run_page import final_scores
from gan_lab.reporting.run_records import RunRecord, read_record
from gan_lab.reporting.significance import same_protocol
from gan_lab.storage.files import write_atomically
from gan_lab.storage.metric_names import METRICS_NOTE, display_name
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import format_duration, format_number
from gan_lab.utils.shell import format_command

MAX_RUNS = len(RUN_COLORS)
"""Upper bound of the number of runs on a page, which has as many colors."""

MISSING = "-"
"""Stands in a table for a key that a run doesn't have."""


@dataclass(frozen=True)
class ComparedRun:
    """A run of a comparison.

    Attributes:
        directory: of the run.
        values: its configuration by dotted key, as text.
    """

    directory: RunDirectory
    values: Mapping[str, str]


def write_comparison(runs: Sequence[ComparedRun], path: Path) -> None:
    """Write the page to a file; arguments and errors as of :func:`render_comparison`."""
    directories = ",".join(str(run.directory.path) for run in runs)
    command = format_command("report", f"runs=[{directories}]", f"out={path}", "overwrite=true")
    page = render_comparison(runs, path.parent, command)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)


def render_comparison(runs: Sequence[ComparedRun], folder: Path, command: str) -> str:
    """The page.

    Args:
        runs: two to :data:`MAX_RUNS`, in the order in which they are shown.
        folder: from which the page links to the runs.
        command: with which it is made again.

    Raises:
        ValueError: there are fewer or more runs, or the records of one can't be read.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise ValueError(f"runs: a comparison takes 2 to {MAX_RUNS} runs, not {len(runs)}")
    records = [read_record(run.directory) for run in runs]
    names = run_names(records)
    histories = [run.directory.history() for run in runs]
    summaries = [run.directory.read_summary() for run in runs]
    comparable = same_protocol([Configuration("", {}, (record,)) for record in records])
    return render_page(
        "comparison.html.j2",
        title=f"{len(runs)} runs compared",
        running=any(summary.get("status") == "running" for summary in summaries),
        names=names,
        paths=[str(run.directory.path) for run in runs],
        colors=RUN_COLORS,
        links=[relative_link(run.directory.report, folder) if run.directory.report.is_file() else "" for run in runs],
        facts=_facts(summaries),
        scores=_scores(summaries) if comparable else {},
        comparable=comparable,
        differences=differences([run.values for run in runs]),
        films=[
            Film(name, "", read_frames(run.directory, rows, folder, 1 / len(runs)))
            for name, run, rows in zip(names, runs, histories, strict=True)
        ],
        clocks=CLOCKS,
        charts=compared_charts(names, histories, comparable),
        metrics_note=METRICS_NOTE,
        command=command,
    )


def run_names(records: Sequence[RunRecord]) -> list[str]:
    """The options in which each run differs from the others, or the ends of their paths if these don't tell them apart."""
    groups = group_by_configuration(records)
    if len(groups) == len(records):
        return [group.label for group in groups]
    parts = [Path(record.metrics["run"]).resolve().parts for record in records]
    length = next(n for n in range(1, 1 + max(map(len, parts))) if len({p[-n:] for p in parts}) == len(set(parts)))
    return ["/".join(p[-length:]) for p in parts]


def differences(configs: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """The values of each key in which configurations differ."""
    keys = dict.fromkeys(key for config in configs for key in config if not key.endswith("_target_"))
    rows = {key: [config.get(key, MISSING) for config in configs] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def _facts(summaries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Rows of the first table, by title; a row of which nothing is known is left out."""
    rows = {
        "options": [str(s.get("name", "")) for s in summaries],
        "status": [str(s.get("status", "not started")) for s in summaries],
        "images": [f"{s.get('images', 0):,}" for s in summaries],
        "epochs": [format_number(s.get("epochs", 0)) for s in summaries],
        "training time": [format_duration(s.get("seconds", 0)) for s in summaries],
        **{
            display_name(key): [format_number(s[key]) if s.get(key) else "" for s in summaries]
            for key in ("epoch_seconds", "images_per_second", "peak_memory_mib")
        },
        "device": [str(s.get("device", "")) for s in summaries],
    }
    return {title: cells for title, cells in rows.items() if any(cells)}


def _scores(summaries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The final value of each score, by its name."""
    scores = [{score["name"]: score["final"] for score in final_scores(dict(summary))} for summary in summaries]
    names = dict.fromkeys(name for run in scores for name in run)
    return {name: [run.get(name, "") for run in scores] for name in names}
