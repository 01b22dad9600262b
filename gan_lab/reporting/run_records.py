"""The runs of a study as records of their metrics, read from the run directories."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_lab.storage.files import read_text
from gan_lab.storage.json_records import parse_json, study_shape
from gan_lab.storage.metric_names import LOGGED_KEYS
from gan_lab.storage.run_directory import PRUNED, STUDY, RunDirectory
from gan_lab.utils.formatting import CI_SUFFIX

AVERAGED = ("d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake", "g_fool_rate")
"""Logged metrics that are averaged over the last epoch."""

EARLY_STOPPED, LOST = "early_stopped", "lost"
"""A status in ``summary.json``, and the state of a trial in ``study.json`` whose worker died."""


@dataclass(frozen=True)
class RunRecord:
    """One run of a study.

    Attributes:
        overrides: values given on the command line by key, without the seed.
        seed: of the run.
        trial: number of the trial that the run belongs to; None outside a sweep.
        metrics: the result of :func:`run_metrics`.
        directory: of the run; None if it is on another machine.
    """

    overrides: Mapping[str, str]
    seed: int
    trial: int | None
    metrics: Mapping[str, Any]
    directory: RunDirectory | None = None


def run_metrics(directory: RunDirectory) -> dict[str, Any]:
    """A run's row in the table: name, status, score, speed, memory, and losses and accuracies as means over the last epoch.

    Values that are not known yet are None.
    """
    summary, rows = directory.read_summary(), directory.history()
    final, score = summary.get("final", {}), summary.get("score")
    end = rows[-1]["epoch"] if rows else 0.0
    last_epoch = [row for row in rows if row["epoch"] > end - 1]
    return {
        "run": directory.path.as_posix(),
        "name": summary.get("name", ""),
        "seed": _read_number(directory, "seed") or 0,
        "trial": _read_number(directory, "  trial"),
        "status": _status(summary),
        "epochs": summary.get("epochs"),
        "score_name": score,
        "score": final.get(score),
        "score_ci95": final.get(f"{score}{CI_SUFFIX}"),
        "best": summary.get("best", {}).get(score),
        "protocols": final.get("protocols", {}),
        **{name: summary.get(name) for name in ("epoch_seconds", "images_per_second", "seconds", "peak_memory_mib", "device")},
        **{name: _mean_of(last_epoch, LOGGED_KEYS[name]) for name in AVERAGED},
    }


def read_runs(folder: Path) -> list[RunRecord]:
    """The runs below a folder in the order of their directories, then those of its study that are on other machines."""
    directories = [RunDirectory(config.parent) for config in folder.rglob("config.yaml") if "wandb" not in config.parts]
    directories.sort(key=lambda directory: _natural_order(directory.path.relative_to(folder).as_posix()))
    records = [read_record(directory) for directory in directories if directory.read_summary()]
    trials = read_study(folder).get("trials", [])
    lost = {trial["number"] for trial in trials if trial["state"] == LOST}
    found = {(record.trial, record.seed) for record in records}
    stored = [metrics for trial in trials for metrics in trial["figures"]]
    records += [_record(metrics, None) for metrics in stored if (metrics["trial"], metrics["seed"]) not in found]
    return [record for record in records if record.trial not in lost]  # a lost trial is repeated under another number


def read_record(directory: RunDirectory) -> RunRecord:
    """The record of one run."""
    return _record(run_metrics(directory), directory)


def read_study(folder: Path) -> dict[str, Any]:
    """The content of ``study.json``; an empty dictionary if the folder is not that of a sweep.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / STUDY
    try:
        if not path.exists():
            return {}
        record: dict[str, Any] = parse_json(read_text(path))
        study_shape(record, "study")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    return record


def split_overrides(name: str) -> dict[str, str]:
    """The overrides in a run's name, ``key=value,...``, by key; commas inside brackets and quotes don't separate."""
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


def _record(metrics: Mapping[str, Any], directory: RunDirectory | None) -> RunRecord:
    overrides = split_overrides(metrics["name"])
    overrides.pop("seed", None)
    return RunRecord(overrides, metrics["seed"], metrics["trial"], metrics, directory)


def _read_number(directory: RunDirectory, key: str) -> int | None:
    """An integer from ``config.yaml``, without the time to parse the whole file; ``key`` includes its indentation."""
    found = re.search(rf"^{key}: (\d+)$", read_text(directory.config), re.MULTILINE)
    return int(found[1]) if found else None


def _status(summary: Mapping[str, Any]) -> str:
    if summary.get("status") == EARLY_STOPPED and any(alarm["alarm"] == PRUNED for alarm in summary.get("alarms", [])):
        return PRUNED
    return str(summary.get("status", "not started"))


def _mean_of(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return statistics.fmean(values) if values else None


def _natural_order(path: str) -> list[tuple[int, int, str]]:
    """A sort key by which 10 comes after 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path) if part]
