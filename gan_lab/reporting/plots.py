"""Plots of a run, from the rows of its ``metrics.jsonl``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gan_lab.reporting.charts import CLOCKS, Curve, Rows
from gan_lab.storage.metric_names import display_name

DISCRIMINATOR, GENERATOR = "#2563eb", "#ea580c"
LIGHT = {DISCRIMINATOR: "#93c5fd", GENERATOR: "#fdba74"}


def losses_and_accuracies(rows: Rows) -> Figure:
    """Losses (above) and accuracies (below) of discriminator and generator against epochs."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, accuracies = figure.subplots(2, 1, sharex=True)
    _plot_metric(losses, rows, "d/loss", DISCRIMINATOR)
    _plot_metric(losses, rows, "g/loss", GENERATOR)
    style_axes(losses, "loss")
    _plot_metric(accuracies, rows, "d/accuracy_real", DISCRIMINATOR)
    _plot_metric(accuracies, rows, "d/accuracy_fake", LIGHT[DISCRIMINATOR])
    _plot_metric(accuracies, rows, "g/fool_rate", GENERATOR)
    accuracies.set_ylim(-0.03, 1.03)
    style_axes(accuracies, "accuracy")
    accuracies.set_xlabel("epoch")
    return figure


def score_vs_time_plot(curves: Mapping[str, Sequence[tuple[float, float]]], score: str) -> Figure:
    """A score of several runs against training time, on a logarithmic axis.

    Args:
        curves: points (seconds of training, score) by the name of the run.
        score: name of the score.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for (name, curve), color in zip(curves.items(), (DISCRIMINATOR, GENERATOR), strict=False):
        axes.plot(*zip(*curve, strict=True), color=color, marker="o", markersize=3, linewidth=1.5, label=name)
    axes.set_yscale("log")
    style_axes(axes, score)
    axes.set_xlabel(display_name("seconds"))
    return figure


def svg(figure: Figure) -> str:
    """The plot as an ``<svg>`` element, for a page."""
    buffer = io.StringIO()
    _save(figure, buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure, dpi: int = 120) -> bytes:
    """The plot as a PNG file."""
    buffer = io.BytesIO()
    _save(figure, buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _save(figure: Figure, buffer: io.StringIO | io.BytesIO, **options: Any) -> None:
    with warnings.catch_warnings():
        for about in ("Glyph .* missing from font", "constrained_layout not applied"):  # names may be of any kind
            warnings.filterwarnings("ignore", about)
        figure.savefig(buffer, **options)


def _plot_metric(axes: Axes, rows: Rows, key: str, color: str) -> None:
    """A smoothed curve, above the raw one if they differ; nothing if no row has the metric."""
    curve = Curve.of(rows, key, display_name(key), 0)
    if curve is None:
        return
    epochs = curve.point_clocks[:, list(CLOCKS).index("epoch")]
    if curve.band is not None:
        axes.fill_between(epochs, *curve.band, color=color, alpha=0.2, linewidth=0)
    elif curve.smoothed is not curve.points:
        axes.plot(epochs, curve.points, color=color, alpha=0.25, linewidth=0.8)
    axes.plot(epochs, curve.smoothed, color=color, label=curve.name, linewidth=1.5)


def literal(text: str) -> str:
    """Text of the user's, such as a path or a class, in which Matplotlib would take what is between two ``$`` for a formula."""
    return text.replace("$", r"\$")


def style_axes(axes: Axes, label: str) -> None:
    """The common style of all plots, with ``label`` at the vertical axis."""
    axes.set_ylabel(label)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def set_log_scale(axes: Axes, values: Sequence[float | None]) -> None:
    """Make the vertical axis logarithmic if all values are positive and differ by more than a factor of 4."""
    known = [value for value in values if value is not None]
    if known and min(known) > 0 and max(known) / min(known) > 4:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "235" else "")
