"""A run directory: the contract between the rooms that write it and the rooms that read it.

::

    config.yaml      the resolved configuration, and the overrides it was composed from
    metrics.jsonl    one object a line, append only
    scores.json      what gan_lab.evaluate has found
    summary.json     status, scores, alarms, speed, versions
    samples/         images-000000000.png ... final.png, reals.png
    checkpoints/     last.pt, best.pt
    losses.png       loss and accuracy of both players
    samples.webp     the samples as a film of the training
    report.html      one self-contained page
    train.log
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no flock: there a second process on the same run is not noticed
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

RESUMED = "resumed"
"""Key of the marker line in ``metrics.jsonl``: lines before it that lie beyond its ``images`` were trained over again."""

COMPLETED = ("finished", "early_stopped")
"""What ``summary.json`` says is the status of a run that has come to its end, or to one that an alarm has set."""

PRUNED = "pruned"
"""The alarm that ends a trial of a sweep which does worse than others did."""

STUDY = "study.json"
"""Beside the runs of a sweep: what Optuna knows of it."""


class RunDirectory:
    """Paths and records of one run. Needs neither torch nor Hydra.

    Args:
        path: the run's folder; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The existing run at ``path``; ``latest`` stands for the newest one under ``outputs/`` and ``multirun/``.

        Raises:
            ValueError: there is no run there.
        """
        if str(path) == "latest":
            configs = [c for root in ("outputs", "multirun") for c in Path(root).rglob("config.yaml") if "wandb" not in c.parts]
            if not configs:
                raise ValueError("latest: no run under outputs/ or multirun/ yet; train one with `python -m gan_lab.train`")
            return cls(max(configs, key=lambda c: c.stat().st_mtime).parent)
        found = cls(Path(path).expanduser())
        if not found.config.is_file():
            what = "holds no config.yaml" if found.path.is_dir() else "is a file" if found.path.exists() else "does not exist"
            raise ValueError(
                f"{found.path} is not a run directory: it {what}. Give a folder such as outputs/2026-01-01/12-00-00"
            )
        return found

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def scores(self) -> Path:
        return self.path / "scores.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def final(self) -> Path:
        return self.samples / "final.png"

    @property
    def reals(self) -> Path:
        return self.samples / "reals.png"

    @property
    def animation(self) -> Path:
        return self.path / "samples.webp"

    @property
    def losses(self) -> Path:
        return self.path / "losses.png"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def checkpoint(self, which: str) -> Path:
        """``which`` is ``last`` or ``best``."""
        return self.path / "checkpoints" / f"{which}.pt"

    def sample_grid(self, images: int) -> Path:
        return self.samples / f"images-{images:09d}.png"

    def sample_grids(self) -> list[Path]:
        """The preview grids, oldest first."""
        return sorted(self.samples.glob("images-*.png"))

    def history(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl`` in order of ``images``, without what a resume trained over again.

        A last line torn by a crash is passed over.
        """
        rows: list[dict[str, Any]] = []
        if not self.metrics.exists():
            return rows
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if not isinstance(row, dict) or "images" not in row:
                continue
            if RESUMED in row:
                rows = [kept for kept in rows if kept["images"] <= row["images"]]
            else:
                rows.append(row)
        return rows

    def read_summary(self) -> dict[str, Any]:
        """``summary.json``, or an empty dictionary before the run has written one.

        Raises:
            ValueError: it is damaged.
        """
        if not self.summary.exists():
            return {}
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.summary} is damaged: {error}") from error
        if not isinstance(summary, dict):
            raise ValueError(f"{self.summary} is not the summary of a run")
        return summary

    def evaluations(self) -> list[dict[str, Any]]:
        """What ``scores.json`` holds, oldest first; see :func:`read_evaluations`."""
        return read_evaluations(self.scores)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; the system lets go of it even when the process is killed.

        Raises:
            ValueError: another process is training this run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.path} is being trained by another process; wait for it or stop it first") from None
            yield
        finally:
            os.close(handle)


def latest_study() -> Path:
    """The newest folder of several runs under ``multirun/``.

    Raises:
        ValueError: there is none.
    """
    folders = [page.parent for page in Path("multirun").rglob("multirun.yaml")]
    if not folders:
        raise ValueError("study=latest: nothing under multirun/ yet; `python -m gan_lab.train -m ...` makes several runs")
    return max(folders, key=lambda folder: folder.stat().st_mtime)


def read_evaluations(path: Path) -> list[dict[str, Any]]:
    """The evaluations kept in a file, oldest first; none where there is no file.

    Raises:
        ValueError: it holds something else.
    """
    if not path.exists():
        return []
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(kept, list) and all(isinstance(entry, dict) and "results" in entry for entry in kept)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read as scores of gan_lab ({error})") from error
    if not whole:
        raise ValueError(f"{path} holds no scores of gan_lab")
    return kept
