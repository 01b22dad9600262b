"""``report.html``: one self-contained page about a run, readable while it goes on."""

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
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import CI_SUFFIX, format_with_ci

MIDDLE_GRIDS = 4
"""Grids shown between the untrained generator and the last one."""

FIGURES = (
    ("PSNR of held-out pictures, beside bicubic interpolation", ["psnr_y", "bicubic/psnr_y", "psnr", "bicubic/psnr"], "dB"),
    ("SSIM of held-out pictures", ["ssim_y", "bicubic/ssim_y", "ssim", "bicubic/ssim"], "similarity"),
    ("Perceptual distance", ["lpips", "bicubic/lpips", "perceptual_lite1", "bicubic/perceptual_lite1"], "distance"),
    ("First stage, pixels alone", ["pretraining/loss"], "loss"),
    ("Resolution of a growing network", ["growth/resolution"], "pixels"),
    ("Weight of its newest layers", ["growth/alpha"], "alpha"),
    ("Penalties", ["d/gradient_penalty", "d/dragan", "d/r1", "d/r2"], "value"),
    ("Labels told by the classifier", ["d/class_accuracy_real", "g/class_accuracy_fake"], "accuracy"),
    ("Overfitting of the discriminator: held-out images, 0 judged like reals, 1 like fakes", ["d/overfitting"], "r_v"),
    ("Adaptive augmentation", ["d/ada_p", "d/ada_rt"], "p, mean sign"),
    ("Gradient norms", ["d/gradient_norm", "g/gradient_norm", "pretraining/gradient_norm"], "norm"),
    ("Learning rates", ["d/learning_rate", "g/learning_rate", "pretraining/learning_rate"], "rate"),
    ("Speed", ["time/images_per_second"], "images/s"),
)
"""Further curves of a run that has the figures: title, names, what the axis says."""


BICUBIC = "bicubic/"
"""Before the name of a score that interpolation has, beside a super-resolution's."""

SHARES = (("Fidelity and variety", ("precision", "recall", "density", "coverage"), "share"),)
"""Further curves of scores, by what their names begin with."""


def is_distance(name: str) -> bool:
    """Whether a figure is a Frechet distance."""
    return (name == "fid" or name.startswith("fd_")) and not name.endswith((CI_SUFFIX, "_infinity"))


def write_report(directory: RunDirectory) -> Path:
    """Write ``losses.png``, ``samples.webp`` and ``report.html`` anew from what the run directory holds."""
    rows, summary = directory.history(), directory.read_summary()
    write_atomically(directory.losses, plots.png(plots.losses_and_accuracies(rows)))
    write_animation(directory.sample_grids(), directory.animation)
    page = fill(
        "report.html.j2",
        title=summary.get("name", directory.path.name),
        directory=str(directory.path),
        summary=summary,
        facts=_facts(summary),
        scores=_scores(summary),
        protocols=summary.get("final", {}).get("protocols", {}),
        alarms=summary.get("alarms", []),
        evaluations=_evaluations(directory),
        latest=_latest(rows),
        of_pictures=any(name.startswith(BICUBIC) for row in rows for name in row),
        grids=_grids(directory, rows),
        reals=embed(directory.reals),
        film=embed(directory.animation),
        curves=_curves(rows),
        config=directory.config.read_text(encoding="utf-8") if directory.config.exists() else "",
    )
    write_atomically(directory.report, page)
    return directory.report


def fill(template: str, **values: Any) -> str:
    """A page out of ``templates/``."""
    loader = PackageLoader("gan_lab.reporting")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def _facts(summary: dict[str, Any]) -> dict[str, str]:
    """The first lines of the page; a run that has only begun has few."""
    parameters, versions = summary.get("parameters", {}), summary.get("versions", {})
    facts = {
        "trained": f"{summary.get('epochs', 0):g} epochs, {summary.get('images', 0):,} images",
        "training time": duration(summary.get("seconds", 0)),
        "time per epoch": f"{summary['epoch_seconds']:.1f} s" if summary.get("epoch_seconds") else "",
        "images per second": f"{summary['images_per_second']:.0f}" if summary.get("images_per_second") else "",
        "parameters": f"G {parameters.get('generator', 0):,}, D {parameters.get('discriminator', 0):,}" if parameters else "",
        "peak memory": f"{summary['peak_memory_mib']:.0f} MiB" if summary.get("peak_memory_mib") else "",
        "device": summary.get("device", ""),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": (summary.get("git_commit") or "")[:12],
    }
    return {name: value for name, value in facts.items() if value}


def _scores(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Final and best value of each score; the one that the run is judged by comes first."""
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
    """What ``gan_lab.evaluate`` has found, newest first: for each protocol its record and scores."""
    return [
        {
            "title": f"{entry.get('checkpoint', '')} checkpoint, {entry.get('images', 0):,} images",
            "time": entry["time"],
            "protocol": result["protocol"],
            "scores": {n: format_with_ci(result["scores"], n) for n in result["scores"] if not n.endswith(CI_SUFFIX)},
        }
        for entry in reversed(directory.evaluations())
        for result in entry["results"].values()
    ]


def _latest(rows: list[dict[str, Any]]) -> dict[str, list[tuple[str, float]]]:
    """The newest value of every figure, by player."""
    newest: dict[str, float] = {}
    for row in rows:
        newest |= {name: value for name, value in row.items() if value is not None}
    groups: dict[str, list[tuple[str, float]]] = {"discriminator": [], "generator": [], "run": []}
    for name, value in newest.items():
        if name not in ("images", "epoch", "seconds"):
            groups[{"d": "discriminator", "g": "generator"}.get(name.partition("/")[0], "run")].append((name, value))
    return groups


def _grids(directory: RunDirectory, rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Untrained, a few on the way, the last: evenly spaced."""
    previews = directory.sample_grids()
    count = min(len(previews), MIDDLE_GRIDS + 2)
    chosen = [previews[round(n * (len(previews) - 1) / max(1, count - 1))] for n in range(count)]
    return [{"picture": embed(path), "caption": _caption(path, rows)} for path in chosen]


def _caption(path: Path, rows: list[dict[str, Any]]) -> str:
    """When, and of a growing network at which size."""
    images = int(re.findall(r"\d+", path.stem)[-1])
    stage = next((row for row in rows if row["images"] >= images and "growth/resolution" in row), None)
    grown = "" if stage is None else f", {stage['growth/resolution']:g}x{stage['growth/resolution']:g}"
    fading = "" if stage is None or stage["growth/alpha"] == 1 else f", alpha {stage['growth/alpha']:.2f}"
    return ("untrained" if images == 0 else f"{images / 1000:.1f}k images") + grown + fading


def _curves(rows: list[dict[str, Any]]) -> list[tuple[str, Markup]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    curves = [("Losses and accuracies", plots.losses_and_accuracies(rows))]
    curves += [("Score", plots.score(rows, name)) for name in names if is_distance(name)]
    for title, prefixes, label in SHARES:
        if present := [n for n in names if n.partition("_")[0] in prefixes and not n.endswith(CI_SUFFIX)]:
            curves.append((title, plots.curves(rows, present, label)))
    for title, wanted, label in FIGURES:
        if present := [name for name in wanted if name in names]:
            curves.append((title, plots.curves(rows, present, label)))
    return [(title, Markup(plots.svg(figure))) for title, figure in curves]


def embed(path: Path) -> str:
    """A picture as a data URI, or an empty string where there is none yet."""
    if not path.exists():
        return ""
    kind = path.suffix.removeprefix(".")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def duration(seconds: float) -> str:
    """``1 h 20 min``, ``3 min 5 s``, ``4.2 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
