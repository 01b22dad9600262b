"""A study as a table: for spreadsheets, for a page of Markdown, for the console."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from gan_lab.reporting.configurations import Configuration

COLUMNS = (
    ("score", "score", "score_ci95"),
    ("s/epoch", "epoch_seconds", None),
    ("images/s", "images_per_second", None),
    ("D loss", "d_loss", None),
    ("G loss", "g_loss", None),
    ("D right on reals", "d_accuracy_real", None),
    ("D right on fakes", "d_accuracy_fake", None),
    ("G fools D", "g_fool_rate", None),
    ("peak MiB", "peak_memory_mib", None),
)
"""Title, figure, and the figure that is the error of a single run."""


def rows(groups: Sequence[Configuration]) -> tuple[list[str], list[list[str]]]:
    """Titles, and for each configuration what stands under them; columns nobody has anything in are left out."""
    names = list(dict.fromkeys(g.score_name for g in groups if g.score_name))
    sweep = any(entry.trial is not None for g in groups for entry in g.entries)
    chosen = list(dict.fromkeys(key for g in groups for key in g.choices)) if sweep else []
    titles = ["run", "seeds", "status", *(title for title, _, _ in COLUMNS), *chosen]
    if len(names) == 1:
        titles[titles.index("score")] = names[0]
    cells = [
        [
            *(g.label, str(len(g.entries)), g.status),
            *(g.format(name, error) for _, name, error in COLUMNS),
            *(g.choices.get(key, "") for key in chosen),
        ]
        for g in groups
    ]
    kept = [n for n in range(len(titles)) if n == 0 or any(row[n] for row in cells)]
    if all(len(g.entries) == 1 for g in groups):
        kept.remove(1)
    if all(g.status == "finished" for g in groups):
        kept.remove(2)
    return [titles[n] for n in kept], [[row[n] for n in kept] for row in cells]


def markdown(groups: Sequence[Configuration]) -> str:
    titles, cells = rows(groups)
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def comma_separated(groups: Sequence[Configuration]) -> str:
    """One line for each run, with every choice and every figure in a column of its own."""
    keys = list(dict.fromkeys(key for g in groups for key in g.choices))
    figures = list(dict.fromkeys(k for g in groups for e in g.entries for k in e.metrics if k not in ("protocols", "name")))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["label", *keys, *figures])
    for g in groups:
        for e in g.entries:
            values = [e.metrics.get(name) for name in figures]
            writer.writerow([g.label, *(g.choices.get(key, "") for key in keys), *("" if v is None else v for v in values)])
    return buffer.getvalue()
