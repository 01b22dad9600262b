"""The table of a study: rows of text for the page and the console, Markdown, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from gan_lab.reporting.configurations import Configuration
from gan_lab.reporting.run_records import AVERAGED
from gan_lab.storage.metric_names import display_name

COLUMNS = ("score", "epoch_seconds", "images_per_second", *AVERAGED, "peak_memory_mib")
"""The metrics in the table, by their names in a run's record."""


def rows(groups: Sequence[Configuration]) -> tuple[list[str], list[list[str]]]:
    """Column titles, and the cells of a row for each configuration; columns without any value are left out.

    A sweep has a column for each parameter. ``seeds`` is left out if all are 1, ``status`` if all runs have finished.
    """
    names = list(dict.fromkeys(g.score_name for g in groups if g.score_name))
    sweep = any(record.trial is not None for g in groups for record in g.records)
    parameters = list(dict.fromkeys(key for g in groups for key in g.choices)) if sweep else []
    titles = ["run", "seeds", "status", *map(display_name, COLUMNS), *parameters]
    if len(names) == 1:
        titles[titles.index("score")] = names[0]
    cells = [
        [
            *(g.label, str(len(g.records)), g.status),
            *(g.format(name) for name in COLUMNS),
            *(g.choices.get(key, "") for key in parameters),
        ]
        for g in groups
    ]
    kept = [n for n in range(len(titles)) if n == 0 or any(row[n] for row in cells)]
    if all(len(g.records) == 1 for g in groups):
        kept.remove(1)
    if all(g.status == "finished" for g in groups):
        kept.remove(2)
    return [titles[n] for n in kept], [[row[n] for n in kept] for row in cells]


def markdown(groups: Sequence[Configuration]) -> str:
    """The table in Markdown."""
    titles, cells = rows(groups)
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def comma_separated(groups: Sequence[Configuration]) -> str:
    """CSV with a line for each run, and a column for each override and each metric, in full precision."""
    keys = list(dict.fromkeys(key for g in groups for key in g.choices))
    names = list(dict.fromkeys(k for g in groups for r in g.records for k in r.metrics if k not in ("protocols", "name")))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["label", *keys, *names])
    for g in groups:
        for record in g.records:
            values = [record.metrics.get(name) for name in names]
            writer.writerow([g.label, *(g.choices.get(key, "") for key in keys), *("" if v is None else v for v in values)])
    return buffer.getvalue()
