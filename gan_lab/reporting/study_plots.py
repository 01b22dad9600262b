"""Pictures of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gan_lab.reporting.configurations import Configuration
from gan_lab.reporting.plots import DISCRIMINATOR, GENERATOR, style_axes

AXES = {"epoch_seconds": "seconds per epoch", "peak_memory_mib": "peak memory, MiB", "seconds": "seconds of training"}
LOST = "#9ca3af"
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
"""Under what is written over lines."""

FEW = 10
"""Points that are all named in a plot."""


def pareto_plot(groups: Sequence[Configuration], front: Sequence[Configuration], across: str, up: str) -> Figure:
    """Every configuration as a point, the front as a line from point to point. Lower is better in both."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for members, colour, label in (
        ([g for g in groups if g not in front], LOST, "beaten"),
        (list(front), GENERATOR, "the front"),
    ):
        points = [(g.mean(across), g.mean(up), g) for g in members]
        known = [(x, y, g) for x, y, g in points if x is not None and y is not None]
        if not known:
            continue
        errors = [g.spread(up) or g.mean(f"{up}_ci95") or 0.0 for _, _, g in known]
        lower = [min(error, y * 0.9) for error, (_, y, _) in zip(errors, known, strict=True)]
        xs, ys = [x for x, _, _ in known], [y for _, y, _ in known]
        axes.errorbar(xs, ys, yerr=[lower, errors], fmt="o", color=colour, markersize=5, elinewidth=0.8, label=label)
        if members == list(front):
            axes.plot(xs, ys, color=colour, linewidth=1, alpha=0.6, drawstyle="steps-post")
        if label == "the front" or len(groups) <= FEW:
            for x, y, g in known:
                axes.annotate(g.label, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=6.5, color="#374151")
    _logarithmic(axes, [g.mean(up) for g in groups])
    style_axes(axes, next((g.score_name for g in groups if g.score_name), up) if up == "score" else AXES.get(up, up))
    axes.set_xlabel(AXES.get(across, across))
    return figure


def curves(groups: Sequence[Configuration], best: Configuration | None) -> Figure:
    """Scores over the seconds of training, of every run; the best group stands out."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    few = len(groups) <= FEW
    colours = colormaps["tab10"]
    everything: list[float] = []
    for n, g in enumerate(groups):
        label: str | None = g.label if few else ("best: " + g.label if g is best else None)
        for entry in g.entries:
            if entry.directory is None:
                continue
            name = g.score_name or ""
            rows = [row for row in entry.directory.history() if row.get(name) is not None]
            if not rows:
                continue
            values = [row[name] for row in rows]
            everything += values
            colour = colours(n % 10) if few else GENERATOR if g is best else LOST
            axes.plot(
                [row["seconds"] for row in rows],
                values,
                color=colour,
                marker="o",
                markersize=2.5,
                linewidth=1.2,
                label=label,
                alpha=1 if few or g is best else 0.5,
                zorder=2 if g is best else 1,
            )
            label = None
    _logarithmic(axes, everything)
    style_axes(axes, next((g.score_name for g in groups if g.score_name), "score"))
    axes.set_xlabel("seconds of training")
    return figure


def importances(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """How much each choice moves each objective."""
    names = list(dict.fromkeys(name for share in shares.values() for name in share))[::-1]
    figure = Figure(figsize=(8, 0.6 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(shares)
    for n, ((objective, share), colour) in enumerate(zip(shares.items(), (DISCRIMINATOR, GENERATOR, "#16a34a"), strict=False)):
        places = [place - n * height + 0.4 - height / 2 for place in range(len(names))]
        axes.barh(places, [share.get(name, 0.0) for name in names], height=height * 0.9, color=colour, label=objective)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    style_axes(axes, "")
    axes.set_xlabel("share in telling trials apart (impurity in a random forest)")
    return figure


def parallel(trials: Sequence[Mapping[str, Any]], objective: Sequence[str]) -> Figure:
    """Every trial as a line through its choices to its first value; dark is good."""
    names = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    values = sorted(trial["values"][0] for trial in trials)
    places = [_scale([trial["params"].get(name) for trial in trials]) for name in names]
    places.append(_scale([trial["values"][0] for trial in trials]))
    for n, trial in enumerate(trials):
        rank = values.index(trial["values"][0]) / max(1, len(values) - 1)
        axes.plot(
            range(len(places)),
            [place[0][n] for place in places],
            color=colormaps["viridis"](rank),
            linewidth=1.3,
            alpha=1.0 if rank < 0.25 else 0.5,
            zorder=2 - rank,
        )
    for x, (_, ticks) in enumerate(places):
        axes.axvline(x, color="#d1d5db", linewidth=0.8, zorder=0)
        for y, text in ticks:
            note = axes.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=6.5, color="#374151")
            note.set_bbox(PAPER)
    axes.set_xticks(range(len(places)), [*(_broken(name) for name in names), objective[0]], fontsize=7)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.margins(x=0.06)
    return figure


def _broken(name: str) -> str:
    """Over several lines, at its dots."""
    return name.replace(".", ".\n")


def _scale(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Values as heights in [0, 1], and what is written where. Categories evenly; numbers far apart by their logarithm."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) < 2:
        kinds = sorted(dict.fromkeys(map(str, values)))
        place = {kind: n / max(1, len(kinds) - 1) for n, kind in enumerate(kinds)}
        return [place[str(value)] for value in values], [(height, kind) for kind, height in place.items()]
    low, high = min(numbers), max(numbers)
    spread = low > 0 and high / low > 5
    ends = (math.log(low), math.log(high)) if spread else (low, high)
    heights = [((math.log(v) if spread else v) - ends[0]) / (ends[1] - ends[0]) for v in numbers]
    told = sorted(set(numbers)) if len(set(numbers)) <= 5 else [low, high]
    written = [(((math.log(v) if spread else v) - ends[0]) / (ends[1] - ends[0]), f"{v:.3g}") for v in told]
    return heights, written


def _logarithmic(axes: Axes, values: Sequence[float | None]) -> None:
    """Where values differ by more than a factor."""
    known = [value for value in values if value is not None]
    if known and min(known) > 0 and max(known) / min(known) > 4:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "235" else "")
