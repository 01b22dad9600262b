"""The runs of a study as rows of figures, read from their directories."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_lab.storage.run_directory import PRUNED, STUDY, RunDirectory
from gan_lab.utils.formatting import CI_SUFFIX

AVERAGED = {
    "d_loss": "d/loss",
    "g_loss": "g/loss",
    "d_accuracy_real": "d/accuracy_real",
    "d_accuracy_fake": "d/accuracy_fake",
    "g_fool_rate": "g/fool_rate",
}
"""Figures of a tick that a table has as means over the last epoch, by their name there."""

LAST = 1.0
"""Epochs they are averaged over."""

EARLY, LOST = "early_stopped", "lost"


@dataclass(frozen=True)
class RunRecord:
    """One training.

    Attributes:
        overrides: what the command line said, by key, the seed left out.
        seed: of the training.
        trial: number of the sweep's trial it belongs to, or None.
        figures: what :func:`run_metrics` says.
        directory: the run's, or None if it lies on another machine.
    """

    overrides: Mapping[str, str]
    seed: int
    trial: int | None
    metrics: Mapping[str, Any]
    directory: RunDirectory | None = None


def run_metrics(directory: RunDirectory) -> dict[str, Any]:
    """What a table says of a run; what it has not come to yet is None."""
    summary, rows = directory.read_summary(), directory.history()
    final, score = summary.get("final", {}), summary.get("score")
    ended = rows[-1]["epoch"] if rows else 0.0
    last = [row for row in rows if row["epoch"] > ended - LAST]
    return {
        "run": directory.path.as_posix(),
        "name": summary.get("name", ""),
        "seed": _number(directory, "seed") or 0,
        "trial": _number(directory, "  trial"),
        "status": _status(summary),
        "epochs": summary.get("epochs"),
        "score_name": score,
        "score": final.get(score),
        "score_ci95": final.get(f"{score}{CI_SUFFIX}"),
        "best": summary.get("best", {}).get(score),
        "protocols": final.get("protocols", {}),
        **{name: summary.get(name) for name in ("epoch_seconds", "images_per_second", "seconds", "peak_memory_mib", "device")},
        **{name: _mean([row[key] for row in last if row.get(key) is not None]) for name, key in AVERAGED.items()},
    }


def read_runs(folder: Path) -> list[RunRecord]:
    """The runs below a folder in the order they began, and those of its study that lie elsewhere."""
    directories = [RunDirectory(config.parent) for config in folder.rglob("config.yaml") if "wandb" not in config.parts]
    directories.sort(key=lambda directory: _in_order(directory.path.relative_to(folder).as_posix()))
    entries = [_entry(run_metrics(directory), directory) for directory in directories if directory.read_summary()]
    trials = read_study(folder).get("trials", [])
    lost = {trial["number"] for trial in trials if trial["state"] == LOST}
    here = {(entry.trial, entry.seed) for entry in entries}
    kept = [figures for trial in trials for figures in trial["figures"]]
    entries += [_entry(figures, None) for figures in kept if (figures["trial"], figures["seed"]) not in here]
    return [entry for entry in entries if entry.trial not in lost]  # another trial has done the same


def read_study(folder: Path) -> dict[str, Any]:
    """``study.json``, or an empty dictionary where there was no sweep.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / STUDY
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    return record if isinstance(record, dict) else {}


def split_overrides(name: str) -> dict[str, str]:
    """A run's name as key and value: at the commas outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in name:
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        depth += (character in "[({") - (character in "])}")
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    pairs = (part.lstrip("+~").partition("=") for part in parts if "=" in part)
    return {key: value for key, _, value in pairs}


def _entry(figures: Mapping[str, Any], directory: RunDirectory | None) -> RunRecord:
    overrides = split_overrides(figures["name"])
    overrides.pop("seed", None)
    return RunRecord(overrides, figures["seed"], figures["trial"], figures, directory)


def _number(directory: RunDirectory, key: str) -> int | None:
    """Out of ``config.yaml``, where it stands on a line of its own."""
    found = re.search(rf"^{key}: (\d+)$", directory.config.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) if found else None


def _status(summary: Mapping[str, Any]) -> str:
    if summary.get("status") == EARLY and any(alarm["alarm"] == PRUNED for alarm in summary["alarms"]):
        return PRUNED
    return str(summary.get("status", "not started"))


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _in_order(path: str) -> list[tuple[int, int, str]]:
    """So that 10 comes after 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path) if part]
