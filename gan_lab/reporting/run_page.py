"""``report.html``: one self-contained page about a run, also while it is in progress."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from gan_lab.reporting import plots
from gan_lab.reporting.animation import write_animation
from gan_lab.reporting.charts import CLOCKS, Rows
from gan_lab.reporting.films import Film, read_frames
from gan_lab.reporting.metric_charts import metric_charts
from gan_lab.reporting.pages import data_uri, render_page
from gan_lab.storage.files import write_atomically
from gan_lab.storage.metric_names import METRICS_NOTE, display_name, distinct_keys
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import CI_SUFFIX, format_count, format_duration, format_number, format_with_ci
from gan_lab.utils.shell import format_command

BICUBIC = "bicubic/"
"""Prefix of the scores of bicubic interpolation, which super-resolution is compared with."""


SPEED_AND_MEMORY = ("epoch_seconds", "images_per_second", "peak_memory_mib")
"""Entries of ``summary.json`` at the top of the page."""

MAX_ANIMATION = 2_500_000
"""Size in bytes up to which the film is part of the page; a larger one is linked."""


class Change(Protocol):
    """A value of the configuration that is not the default one; see :mod:`gan_lab.config.changes`."""

    @property
    def key(self) -> str: ...

    @property
    def default(self) -> str: ...

    @property
    def value(self) -> str: ...

    @property
    def argument(self) -> str: ...


def write_report(directory: RunDirectory, changes: Sequence[Change]) -> Path:
    """Write ``losses.png``, ``samples.webp`` and ``report.html`` from the records in the run directory.

    Args:
        directory: of the run.
        changes: in which the configuration differs from the default one.

    Returns:
        The path of ``report.html``.
    """
    rows = directory.history()
    write_atomically(directory.losses, plots.png(plots.losses_and_accuracies(rows)))
    write_animation(directory.sample_grids(), directory.animation)
    write_atomically(directory.report, render_report(directory, changes, rows))
    return directory.report


def render_report(directory: RunDirectory, changes: Sequence[Change], rows: Rows | None = None) -> str:
    """The page alone; ``rows`` are its metrics if they have been read, other arguments as of :func:`write_report`."""
    rows = directory.history() if rows is None else rows
    summary, animation = directory.read_summary(), directory.animation
    upscales = any(name.startswith(BICUBIC) for row in rows for name in row)
    return render_page(
        "report.html.j2",
        title=summary.get("name", directory.path.name),
        running=summary.get("status") == "running",
        directory=str(directory.path),
        summary=summary,
        facts=_facts(summary),
        scores=final_scores(summary),
        protocols=summary.get("final", {}).get("protocols", {}),
        alarms=summary.get("alarms", []),
        evaluations=_evaluations(directory),
        latest=_latest(rows),
        is_super_resolution=upscales,
        film=Film("", "", read_frames(directory, rows, directory.path)),
        reals=data_uri(directory.reals),
        nearest={path.stem.removeprefix("nearest-"): data_uri(path) for path in directory.nearest_grids()},
        animation=data_uri(animation) if animation.exists() and animation.stat().st_size <= MAX_ANIMATION else "",
        animation_link=animation.name if animation.exists() else "",
        explorer=_explorer(directory),
        clocks=CLOCKS,
        charts=metric_charts(rows),
        metrics_note=METRICS_NOTE,
        shares=_shares(summary),
        changes=changes,
        commands=_commands(directory, summary, changes, upscales),
        config=directory.config.read_text(encoding="utf-8") if directory.config.exists() else "",
    )


def _explorer(directory: RunDirectory) -> dict[str, Any] | None:
    """What the page needs of the explorer: its sheet, and the commands that make an image; None if there is none."""
    if not (directory.explorer.is_file() and directory.explorer_plan.is_file()):
        return None
    plan = directory.read_explorer_plan()
    seeds = f"{min(plan['seeds'])}-{max(plan['seeds'])}"
    classes = [[f"classes=[{json.dumps(name)}]"] for name in plan["planes"]] or [[]]
    run = f"run={directory.path}"
    return {
        "sheet": data_uri(directory.explorer),
        "images": plan["images"],
        "plan": {
            **{key: plan[key] for key in ("side", "nodes", "seeds", "planes")},
            "seed_commands": [format_command("sample", run, "seeds=SEED", *of) for of in classes],
            "point_commands": [format_command("sample", run, f"plane={seeds}", "at=AT", *of) for of in classes],
        },
    }


def _shares(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the time went: name, duration and percentage of training steps and of everything else, longest first."""
    seconds = {"training steps": summary.get("seconds", 0.0), **summary.get("other_seconds", {})}
    longest = sorted(((name, value) for name, value in seconds.items() if value > 0), key=lambda share: -share[1])
    total = sum(value for _, value in longest)
    return [
        {"name": name, "duration": format_duration(value), "percent": round(100 * value / total, 2)} for name, value in longest
    ]


def _commands(directory: RunDirectory, summary: dict[str, Any], changes: Sequence[Change], upscales: bool) -> dict[str, str]:
    """Commands that go on with the run, by what they do."""
    run, epochs = f"run={directory.path}", summary.get("epochs", 0)
    more = [f"epochs={2 * epochs:g}"] if summary.get("status") == "finished" and epochs else []
    images = {"upscale": ["input=photo.jpg"]} if upscales else {"sample": ["count=64", "seed=1"], "walk": ["walk=loop"]}
    return {
        "go on": format_command("train", f"resume={directory.path}", *more),
        **{name: format_command("sample", run, *arguments) for name, arguments in images.items()},
        "evaluate": format_command("evaluate", run),
        "export": format_command("export", run, "out=generator.onnx"),
        "reproduce": format_command("train", *[change.argument for change in changes if change.argument]),
    }


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
            "best": format_with_ci(best, name) if "images" in best else "",
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
            "time": entry.get("time", ""),
            "protocol": result["protocol"],
            "scores": {n: format_with_ci(result["scores"], n) for n in result["scores"] if not n.endswith(CI_SUFFIX)},
        }
        for entry in reversed(directory.evaluations())
        for result in entry["results"].values()
    ]


def _latest(rows: Rows) -> dict[str, list[tuple[str, str]]]:
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
