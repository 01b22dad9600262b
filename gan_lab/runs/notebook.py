"""How a run shows itself in a notebook."""

from __future__ import annotations

import io
from functools import partial
from html import escape

from matplotlib.figure import Figure

from gan_lab.reporting.pages import data_uri
from gan_lab.reporting.run_page import final_scores
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import format_count


def run_html(directory: RunDirectory, images_seen: int) -> str:
    """A fragment of HTML: the newest sample grid, and below it the status, the length and the scores of a run.

    Args:
        directory: of the run.
        images_seen: by the generator that is open.
    """
    summary = directory.read_summary()
    rows = {"run": str(directory.path), "status": summary.get("status", ""), "trained on": format_count(images_seen, "image")}
    rows |= {score["name"]: score["final"] for score in final_scores(summary)[:3]}
    cells = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
        if value
    )
    grids = [directory.final, *reversed(directory.sample_grids())]
    newest = next((grid for grid in grids if grid.is_file()), None)
    image = "" if newest is None else f'<img src="{data_uri(newest)}" alt="samples" style="max-width: 100%">'
    return f"<div>{image}<table>{cells}</table></div>"


def show_in_notebooks(figure: Figure) -> Figure:
    """Let a figure show itself at the end of a cell; without this, notebooks show only those made by ``matplotlib.pyplot``."""
    vars(figure)["_repr_png_"] = partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
