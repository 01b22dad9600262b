"""``report.html``: one self-contained page about a run, also while it is in progress."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gan_lab.reporting import plots
from gan_lab.reporting.animation import write_animation
from gan_lab.storage.files import write_atomically
from gan_lab.storage.metric_names import METRICS_NOTE, display_name, distinct_keys
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import CI_SUFFIX, format_count, format_duration, format_number, format_with_ci

MIDDLE_GRIDS = 4
"""Upper bound of the number of sample grids shown between the first and the last one."""

PLOTS = (
    (
        "PSNR of held-out images, compared with bicubic interpolation",
        ["psnr_y", "bicubic/psnr_y", "psnr", "bicubic/psnr"],
        "dB",
    ),
    ("SSIM of held-out images", ["ssim_y", "bicubic/ssim_y", "ssim", "bicubic/ssim"], "similarity"),
    ("Perceptual distance", ["lpips", "bicubic/lpips", "perceptual_lite1", "bicubic/perceptual_lite1"], "distance"),
    ("Pretraining without a discriminator", ["pretraining/loss"], "loss"),
    ("Progressive growing: resolution", ["growth/resolution"], "pixels"),
    ("Progressive growing: fade-in of the newest layers", ["growth/alpha"], "alpha"),
    ("Penalties", ["d/gradient_penalty", "d/dragan", "d/r1", "d/r2"], "value"),
    ("Accuracy of the auxiliary classifier", ["d/class_accuracy_real", "g/class_accuracy_fake"], "accuracy"),
    (
        "Overfitting of the discriminator: held-out images score like training images (0) or like fakes (1)",
        ["d/overfitting"],
        "r_v",
    ),
    ("Adaptive augmentation", ["d/ada_p", "d/ada_rt"], "p, r_t"),
    ("Gradient norms", ["d/gradient_norm", "g/gradient_norm", "pretraining/gradient_norm"], "L2 norm"),
    ("Learning rates", ["d/learning_rate", "g/learning_rate", "pretraining/learning_rate"], "learning rate"),
    ("Speed", ["time/images_per_second"], "images/s"),
)
"""Plots of logged metrics, each shown if the run has one of them: title, keys, label of the vertical axis."""

BICUBIC = "bicubic/"
"""Prefix of the scores of bicubic interpolation, which super-resolution is compared with."""

SCORE_PLOTS = (("Fidelity and variety", ("precision", "recall", "density", "coverage"), "score"),)
"""Plots of scores: title, prefixes of their names, label of the vertical axis."""


SPEED_AND_MEMORY = ("epoch_seconds", "images_per_second", "peak_memory_mib")
"""Entries of ``summary.json`` at the top of the page."""


def is_distance(name: str) -> bool:
    """Whether a score is a Frechet distance."""
    return (name == "fid" or name.startswith("fd_")) and not name.endswith((CI_SUFFIX, "_infinity"))


def write_report(directory: RunDirectory) -> Path:
    """Write ``losses.png``, ``samples.webp`` and ``report.html`` from the records in the run directory.

    Returns:
        The path of ``report.html``.
    """
    rows, summary = directory.history(), directory.read_summary()
    write_atomically(directory.losses, plots.png(plots.losses_and_accuracies(rows)))
    write_animation(directory.sample_grids(), directory.animation)
    page = render_page(
        "report.html.j2",
        title=summary.get("name", directory.path.name),
        directory=str(directory.path),
        summary=summary,
        facts=_facts(summary),
        scores=final_scores(summary),
        protocols=summary.get("final", {}).get("protocols", {}),
        alarms=summary.get("alarms", []),
        evaluations=_evaluations(directory),
        latest=_latest(rows),
        is_super_resolution=any(name.startswith(BICUBIC) for row in rows for name in row),
        grids=_grids(directory, rows),
        reals=data_uri(directory.reals),
        animation=data_uri(directory.animation),
        plots=_plots(rows),
        metrics_note=METRICS_NOTE,
        config=directory.config.read_text(encoding="utf-8") if directory.config.exists() else "",
    )
    write_atomically(directory.report, page)
    return directory.report


def render_page(template: str, **values: Any) -> str:
    """An HTML page from a file of ``templates/`` and the values of its variables, which are escaped unless they are Markup."""
    loader = PackageLoader("gan_lab.reporting")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def _facts(summary: dict[str, Any]) -> dict[str, str]:
    """Length, speed, size and environment of the run; what is not known yet is omitted."""
    parameters, versions = summary.get("parameters", {}), summary.get("versions", {})
    facts = {
        "trained": f"{format_count(summary.get('epochs', 0), 'epoch')}, {format_count(summary.get('images', 0), 'image')}",
        "training time": format_duration(summary.get("seconds", 0)),
        **{display_name(key): format_number(summary[key]) for key in SPEED_AND_MEMORY if summary.get(key)},
        "parameters": f"G {parameters.get('generator', 0):,}, D {parameters.get('discriminator', 0):,}" if parameters else "",
        "device": summary.get("device", ""),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": (summary.get("git_commit") or "")[:12],
    }
    return {name: value for name, value in facts.items() if value}


def final_scores(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Final and best value of each score with its error, the primary score first."""
    final, best = summary.get("final", {}), summary.get("best", {})
    names = [name for name, value in final.items() if isinstance(value, int | float) and name != "images"]
    names.sort(key=lambda name: name != summary.get("score"))
    return [
        {
            "name": name,
            "final": format_with_ci(final, name),
            "best": format_with_ci(best, name),
            "best_images": best.get("images"),
            "bicubic": format_with_ci(final, f"{BICUBIC}{name}"),
        }
        for name in names
        if not name.endswith(CI_SUFFIX) and not name.startswith(BICUBIC)
    ]


def _evaluations(directory: RunDirectory) -> list[dict[str, Any]]:
    """The results of ``gan_lab.evaluate``, newest first: scores and protocol of each."""
    return [
        {
            "title": f"{entry.get('checkpoint', '')} checkpoint, {format_count(entry.get('images', 0), 'image')}",
            "time": entry["time"],
            "protocol": result["protocol"],
            "scores": {n: format_with_ci(result["scores"], n) for n in result["scores"] if not n.endswith(CI_SUFFIX)},
        }
        for entry in reversed(directory.evaluations())
        for result in entry["results"].values()
    ]


def _latest(rows: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Name and latest value of every metric, by network."""
    latest: dict[str, float] = {}
    for row in rows:
        latest |= {name: value for name, value in row.items() if value is not None}
    groups: dict[str, list[tuple[str, str]]] = {"discriminator": [], "generator": [], "run": []}
    distinct = distinct_keys(rows)
    for key in latest:
        if key in distinct and key not in ("images", "epoch", "seconds") and not key.endswith(CI_SUFFIX):
            group = {"d": "discriminator", "g": "generator"}.get(key.partition("/")[0], "run")
            groups[group].append((display_name(key), format_with_ci(latest, key)))
    return groups


def _grids(directory: RunDirectory, rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The first and the last sample grid, and a few evenly spaced ones between them."""
    grids = directory.sample_grids()
    count = min(len(grids), MIDDLE_GRIDS + 2)
    chosen = [grids[round(n * (len(grids) - 1) / max(1, count - 1))] for n in range(count)]
    return [{"image": data_uri(path), "caption": _caption(path, rows)} for path in chosen]


def _caption(path: Path, rows: list[dict[str, Any]]) -> str:
    """Images seen, and for a growing network its resolution and the weight of its newest layers."""
    images = int(re.findall(r"\d+", path.stem)[-1])
    stage = next((row for row in rows if row["images"] >= images and "growth/resolution" in row), None)
    resolution = "" if stage is None else f", {stage['growth/resolution']:g}x{stage['growth/resolution']:g}"
    fade_in = (
        "" if stage is None or stage["growth/alpha"] == 1 else f", {display_name('growth/alpha')} {stage['growth/alpha']:.2f}"
    )
    return ("untrained" if images == 0 else format_count(images, "image")) + resolution + fade_in


def _plots(rows: list[dict[str, Any]]) -> list[tuple[str, Markup]]:
    """Title and SVG of each plot."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    figures = [("Losses and accuracies", plots.losses_and_accuracies(rows))]
    figures += [(f"Score: {name}", plots.score(rows, name)) for name in names if is_distance(name)]
    for title, prefixes, label in SCORE_PLOTS:
        if present := [n for n in names if n.partition("_")[0] in prefixes and not n.endswith(CI_SUFFIX)]:
            figures.append((title, plots.curves(rows, present, label)))
    for title, keys, label in PLOTS:
        if present := [name for name in keys if name in names]:
            figures.append((title, plots.curves(rows, present, label)))
    return [(title, Markup(plots.svg(figure))) for title, figure in figures]


def data_uri(path: Path) -> str:
    """An image file as a data URI; an empty string if there is no file."""
    if not path.exists():
        return ""
    kind = path.suffix.removeprefix(".")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
