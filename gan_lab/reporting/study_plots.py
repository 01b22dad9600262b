"""Plots of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from gan_lab.reporting.configurations import Configuration
from gan_lab.reporting.plots import DISCRIMINATOR, GENERATOR, literal, set_log_scale, style_axes
from gan_lab.storage.metric_names import display_name

GRAY = "#9ca3af"
ANNOTATION: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6.5, "color": "#374151"}
TEXT_BACKGROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
"""Box behind text that is drawn over lines."""

MAX_LABELED = 10
"""Of more configurations, a plot labels only the best or the Pareto-optimal ones."""


def pareto_plot(groups: Sequence[Configuration], front: Sequence[Configuration], x_name: str, y_name: str) -> Figure:
    """A point for each configuration, with error bars of the metric ``y_name``; the Pareto front is connected by a line."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for members, color, label in (
        ([g for g in groups if g not in front], GRAY, "dominated"),
        (list(front), GENERATOR, "Pareto front"),
    ):
        points = [(g.mean(x_name), g.mean(y_name), g) for g in members]
        known = [(x, y, g) for x, y, g in points if x is not None and y is not None]
        if not known:
            continue
        errors = [g.standard_deviation(y_name) or g.mean(f"{y_name}_ci95") or 0.0 for _, _, g in known]
        lower = [min(error, y * 0.9) for error, (_, y, _) in zip(errors, known, strict=True)]
        xs, ys = [x for x, _, _ in known], [y for _, y, _ in known]
        axes.errorbar(xs, ys, yerr=[lower, errors], fmt="o", color=color, markersize=5, elinewidth=0.8, label=label)
        if members == list(front):
            axes.plot(xs, ys, color=color, linewidth=1, alpha=0.6, drawstyle="steps-post")
        if label == "Pareto front" or len(groups) <= MAX_LABELED:
            for x, y, g in known:
                axes.annotate(literal(g.label), (x, y), xytext=(5, 4), **ANNOTATION)
    set_log_scale(axes, [g.mean(y_name) for g in groups])
    style_axes(axes, _score_name(groups) if y_name == "score" else display_name(y_name))
    axes.set_xlabel(display_name(x_name))
    return figure


def score_curves(groups: Sequence[Configuration], best: Configuration | None) -> Figure:
    """The score of every run against its training time; of many configurations only the best is highlighted."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    few = len(groups) <= MAX_LABELED
    palette = colormaps["tab10"]
    all_values: list[float] = []
    for n, g in enumerate(groups):
        label: str | None = literal(g.label) if few else ("best: " + literal(g.label) if g is best else None)
        for record in g.records:
            if record.directory is None:
                continue
            name = g.score_name or ""
            rows = [row for row in record.directory.history() if row.get(name) is not None]
            if not rows:
                continue
            values = [row[name] for row in rows]
            all_values += values
            color = palette(n % 10) if few else GENERATOR if g is best else GRAY
            axes.plot(
                [row["seconds"] for row in rows],
                values,
                color=color,
                marker="o",
                markersize=2.5,
                linewidth=1.2,
                label=label,
                alpha=1 if few or g is best else 0.5,
                zorder=2 if g is best else 1,
            )
            label = None  # once per configuration in the legend
    set_log_scale(axes, all_values)
    style_axes(axes, _score_name(groups))
    axes.set_xlabel(display_name("seconds"))
    return figure


def importances(importance: Mapping[str, Mapping[str, float]], measure: str) -> Figure:
    """Bars of each parameter's importance.

    Args:
        importance: the importance of each parameter, by objective; see ``OptunaStudy.record``.
        measure: how it was measured, in words.
    """
    names = list(dict.fromkeys(name for values in importance.values() for name in values))[::-1]
    figure = Figure(figsize=(8, 0.6 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(importance)
    colors = (DISCRIMINATOR, GENERATOR, "#16a34a")
    for n, ((objective, values), color) in enumerate(zip(importance.items(), colors, strict=False)):
        y = [place - n * height + 0.4 - height / 2 for place in range(len(names))]
        label = display_name(objective)
        axes.barh(y, [values.get(name, 0.0) for name in names], height=height * 0.9, color=color, label=label)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    style_axes(axes, "")
    axes.set_xlabel(f"importance: {measure}, sums to 1")
    return figure


def parallel_coordinates(trials: Sequence[Mapping[str, Any]], objective: Sequence[str]) -> Figure:
    """A line for each trial through its parameters to its first objective; the darker, the better."""
    names = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    values = sorted(trial["values"][0] for trial in trials)
    columns = [_axis_positions([trial["params"].get(name) for trial in trials]) for name in names]
    columns.append(_axis_positions([trial["values"][0] for trial in trials]))
    for n, trial in enumerate(trials):
        rank = values.index(trial["values"][0]) / max(1, len(values) - 1)
        axes.plot(
            range(len(columns)),
            [positions[n] for positions, _ in columns],
            color=colormaps["viridis"](rank),
            linewidth=1.3,
            alpha=1.0 if rank < 0.25 else 0.5,
            zorder=2 - rank,
        )
    for x, (_, ticks) in enumerate(columns):
        axes.axvline(x, color="#d1d5db", linewidth=0.8, zorder=0)
        for y, text in ticks:
            label = axes.annotate(literal(text), (x, y), (3, 0), va="center", **ANNOTATION)
            label.set_bbox(TEXT_BACKGROUND)
    axes.set_xticks(
        range(len(columns)), [*(name.replace(".", ".\n") for name in names), display_name(objective[0])], fontsize=7
    )
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.margins(x=0.06)
    return figure


def _score_name(groups: Sequence[Configuration]) -> str:
    return next((g.score_name for g in groups if g.score_name), "score")


def _axis_positions(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Positions of values on an axis from 0 to 1, and its tick labels with their positions.

    Categories are evenly spaced. Positive numbers that differ by more than a factor of 5 are on a logarithmic scale.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) < 2:
        categories = sorted(dict.fromkeys(map(str, values)))
        position = {category: n / max(1, len(categories) - 1) for n, category in enumerate(categories)}
        return [position[str(value)] for value in values], [(y, category) for category, y in position.items()]
    low, high = min(numbers), max(numbers)
    scale = math.log if low > 0 and high / low > 5 else float

    def position_of(value: float) -> float:
        return (scale(value) - scale(low)) / (scale(high) - scale(low))

    ticks = sorted(set(numbers)) if len(set(numbers)) <= 5 else [low, high]
    digits = 3 if len({f"{value:.3g}" for value in ticks}) == len(ticks) else 5
    return [position_of(value) for value in numbers], [(position_of(value), f"{value:.{digits}g}") for value in ticks]
