"""Curves of a run, from the rows of its ``metrics.jsonl``."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gan_lab.utils.formatting import CI_SUFFIX

Rows = Sequence[Mapping[str, Any]]

DISCRIMINATOR, GENERATOR = "#2563eb", "#ea580c"
LIGHT = {DISCRIMINATOR: "#93c5fd", GENERATOR: "#fdba74"}


def losses_and_accuracies(rows: Rows) -> Figure:
    """Loss (above) and accuracy (below) of both players over the epochs."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, accuracies = figure.subplots(2, 1, sharex=True)
    _curve(losses, rows, "d/loss", "discriminator", DISCRIMINATOR)
    _curve(losses, rows, "g/loss", "generator", GENERATOR)
    style_axes(losses, "loss")
    _curve(accuracies, rows, "d/accuracy_real", "discriminator on reals", DISCRIMINATOR)
    _curve(accuracies, rows, "d/accuracy_fake", "discriminator on fakes", LIGHT[DISCRIMINATOR])
    _curve(accuracies, rows, "g/fool_rate", "generator: fakes taken for real", GENERATOR)
    accuracies.set_ylim(-0.03, 1.03)
    style_axes(accuracies, "accuracy")
    accuracies.set_xlabel("epoch")
    return figure


def score(rows: Rows, name: str) -> Figure:
    """A score over the epochs, on a logarithmic scale, with its error bars and its lowest value marked."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    epochs, values = series(rows, name)
    axes.plot(epochs, values, color=DISCRIMINATOR, marker="o", markersize=3, linewidth=1.5, label=name)
    errors = {row["epoch"]: row[f"{name}{CI_SUFFIX}"] for row in rows if row.get(f"{name}{CI_SUFFIX}") is not None}
    if errors:
        bars = [errors.get(epoch, 0.0) for epoch in epochs]
        lower = [max(value - bar, value / 10) for value, bar in zip(values, bars, strict=True)]  # stays on a logarithmic axis
        upper = [value + bar for value, bar in zip(values, bars, strict=True)]
        axes.fill_between(epochs, lower, upper, color=DISCRIMINATOR, alpha=0.2, linewidth=0, label="95 % interval")
    if values:
        best = min(range(len(values)), key=values.__getitem__)
        axes.plot(epochs[best], values[best], "o", color=GENERATOR, label=f"best: {values[best]:.4g} at epoch {epochs[best]:g}")
        if min(values) > 0:
            axes.set_yscale("log")
    style_axes(axes, name)
    axes.set_xlabel("epoch")
    return figure


def curves(rows: Rows, names: Sequence[str], label: str) -> Figure:
    """Any figures together over the epochs."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, colour in zip(names, (DISCRIMINATOR, GENERATOR, "#16a34a", "#9333ea"), strict=False):
        _curve(axes, rows, name, name, colour)
    style_axes(axes, label)
    axes.set_xlabel("epoch")
    return figure


def score_vs_time_plot(curves: Mapping[str, Sequence[tuple[float, float]]], score: str) -> Figure:
    """Scores of several trainings against the seconds each has trained, on a logarithmic scale."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for (name, curve), color in zip(curves.items(), (DISCRIMINATOR, GENERATOR), strict=False):
        axes.plot(*zip(*curve, strict=True), color=color, marker="o", markersize=3, linewidth=1.5, label=name)
    axes.set_yscale("log")
    style_axes(axes, score)
    axes.set_xlabel("seconds of training")
    return figure


def series(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    """Epochs and values of the rows that have a finite ``name``."""
    pairs = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure, dpi: int = 120) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _curve(axes: Axes, rows: Rows, name: str, label: str, colour: str) -> None:
    epochs, values = series(rows, name)
    if not values:
        return
    smooth = _smooth(values)
    if smooth != values:
        axes.plot(epochs, values, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(epochs, smooth, color=colour, label=label, linewidth=1.5)


def _smooth(values: list[float]) -> list[float]:
    """A centred moving mean over 2 % of the curve; short curves stay as they are."""
    half = len(values) // 100
    if half == 0:
        return values
    return [sum(part) / len(part) for n in range(len(values)) for part in [values[max(0, n - half) : n + half + 1]]]


def style_axes(axes: Axes, label: str) -> None:
    """The look all plots share."""
    axes.set_ylabel(label)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
