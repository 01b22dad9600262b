"""The files of a run: their paths, and how to read them.

::

    config.yaml      the resolved configuration and the overrides it was composed from
    metrics.jsonl    one JSON object per line, append only
    scores.json      results of gan_lab.evaluate
    summary.json     status, scores, alarms, speed, versions
    samples/         images-000000000.png ... final.png, reals.png
    checkpoints/     last.pt, last-1.pt, best.pt, pretrained.pt; their entries: gan_lab/training/checkpointer.py
    losses.png       losses and accuracies of both networks
    samples.webp     the sample grids as an animation
    explorer.webp    images of a plane of the latent space; explorer.json: where they lie on it
    report.html      one self-contained page
    train.log        the log of the command
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gan_lab.storage.files import read_text
from gan_lab.storage.json_records import EVALUATIONS_SHAPE, EXPLORER_SHAPE, SUMMARY_SHAPE, Shape, is_number, parse_json
from gan_lab.storage.run_lock import OWNER, hold_run

CHECKPOINT_NAME = re.compile(r"last(-[1-9]\d*)?|best|pretrained|images-\d+")
"""Names of checkpoints: the newest and those before it, the one with the best score, the one before adversarial training, and
those that are kept at regular intervals, with the number of images."""

COMPLETED = ("finished", "early_stopped")
"""Statuses in ``summary.json`` of a run that trained to its end, or until an alarm ended it."""

PRUNED = "pruned"
"""The alarm that ends a trial of a sweep because it is worse than other trials."""

STUDY = "study.json"
"""File in the folder of a sweep that records its Optuna study."""


class RunDirectory:
    """Paths and records of one run. Imports neither torch nor Hydra.

    Args:
        path: the run's folder, which need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The existing run at ``path``; ``latest`` is the newest one under ``outputs/`` and ``multirun/``.

        Raises:
            ValueError: there is no run at ``path``.
        """
        if str(path) == "latest":
            configs = [c for root in ("outputs", "multirun") for c in Path(root).rglob("config.yaml") if "wandb" not in c.parts]
            if not configs:
                raise ValueError("latest: no run under outputs/ or multirun/ yet; train one with `python -m gan_lab.train`")
            return cls(max(configs, key=lambda c: c.stat().st_mtime).parent)
        found = cls(Path(path).expanduser())
        if not found.config.is_file():
            what = "holds no config.yaml" if found.path.is_dir() else "is a file" if found.path.exists() else "does not exist"
            example = next(
                iter(sorted(found.path.glob("*/config.yaml"))), Path("outputs/2026-01-01/12-00-00/config.yaml")
            ).parent
            raise ValueError(f"{found.path} is not a run directory: it {what}. Give a folder such as {example}")
        return found

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def weights(self) -> Path:
        """The generator alone, in a folder that ``gan_lab.export`` wrote in place of a run's checkpoints."""
        return self.path / "model.safetensors"

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
    def explorer(self) -> Path:
        return self.path / "explorer.webp"

    @property
    def explorer_plan(self) -> Path:
        return self.path / "explorer.json"

    @property
    def losses(self) -> Path:
        return self.path / "losses.png"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, which: str) -> Path:
        """The file of a checkpoint, which need not exist; ``which`` is a name as of :func:`check_checkpoint_name`."""
        return self.checkpoints / f"{which}.pt"

    def kept_checkpoint(self, images: int) -> str:
        """The name of the checkpoint that is kept after training on ``images`` images."""
        return f"images-{images:09d}"

    def existing_checkpoints(self) -> list[str]:
        """The names of the checkpoints that the run has, ``last`` first."""
        names = (path.stem for path in self.checkpoints.glob("*.pt"))
        return sorted(filter(CHECKPOINT_NAME.fullmatch, names), key=lambda name: (not name.startswith("last"), name))

    def has_begun(self) -> bool:
        """Whether the folder holds a run, or an exported one, and not only what is left of one without any checkpoint."""
        if not self.config.is_file():
            return False
        has_checkpoint = self.checkpoints.is_dir() and any(self.checkpoints.glob("*.pt"))
        return has_checkpoint or self.weights.is_file() or bool(self.history())

    def clear(self) -> None:
        """Remove what a run has written except for its log. Its lock has to be held, and is kept."""
        for path in self.path.iterdir():
            if path.name == OWNER or path.suffix == ".log":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def sample_grid(self, images: int) -> Path:
        """The sample grid of the generator after training on ``images`` images."""
        return self.samples / f"images-{images:09d}.png"

    def sample_grids(self) -> list[Path]:
        """The existing sample grids, oldest first."""
        return sorted(self.samples.glob("images-*.png"))

    def nearest_grids(self) -> list[Path]:
        """Grids of generated images next to their nearest training images, which ``gan_lab.evaluate`` draws."""
        return sorted(self.samples.glob("nearest-*.png"))

    def history(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl`` in order of ``images``, without a last line that a crash left incomplete.

        Each has ``images``, ``epoch`` and ``seconds``. All values are finite numbers or None; others are left out.

        Raises:
            ValueError: it is a pipe or a device.
        """
        rows: list[dict[str, Any]] = []
        if not self.metrics.exists():
            return rows
        for line in read_text(self.metrics, errors="replace").splitlines():
            try:
                row = parse_json(line)
            except ValueError:
                continue
            if isinstance(row, dict) and _is_clock(row.get("images")):
                known = {name: value for name, value in row.items() if value is None or is_number(value)}
                rows.append(known | {clock: 0.0 for clock in ("epoch", "seconds") if not _is_clock(known.get(clock))})
        return rows

    def read_summary(self) -> dict[str, Any]:
        """``summary.json``, or an empty dictionary before the run has written one.

        Raises:
            ValueError: the file is damaged, or an entry has another type than a run writes.
        """
        return _read_record(self.summary, SUMMARY_SHAPE, "summary") if self.summary.exists() else {}

    def read_explorer_plan(self) -> dict[str, Any]:
        """``explorer.json``.

        Raises:
            ValueError: the file is damaged, or an entry has another type than a run writes.
        """
        return _read_record(self.explorer_plan, EXPLORER_SHAPE, "explorer")

    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations in ``scores.json``, oldest first; see :func:`read_evaluations`."""
        return read_evaluations(self.scores)

    def lock(self) -> AbstractContextManager[None]:
        """Lock the run for this process; see :func:`gan_lab.storage.run_lock.hold_run`.

        Raises:
            ValueError: another process is training this run.
        """
        return hold_run(self.path)


def _is_clock(value: Any) -> bool:
    return is_number(value) and value >= 0


def check_checkpoint_name(key: str, name: str) -> None:
    """Raise ValueError unless ``name``, the value of ``key``, can be the name of a checkpoint."""
    if not CHECKPOINT_NAME.fullmatch(name):
        raise ValueError(
            f"{key}={name}: must be last, last-1 (the one before it, and so on), best, pretrained, or the name of one kept by "
            "checkpoint.keep_every_kimg, such as images-000064000"
        )


def latest_study() -> Path:
    """The newest folder of a multirun under ``multirun/``.

    Raises:
        ValueError: there is no multirun.
    """
    folders = [page.parent for page in Path("multirun").rglob("multirun.yaml")]
    if not folders:
        raise ValueError("study=latest: nothing under multirun/ yet; `python -m gan_lab.train -m ...` makes several runs")
    return max(folders, key=lambda folder: folder.stat().st_mtime)


def read_evaluations(path: Path) -> list[dict[str, Any]]:
    """The evaluations stored in a file, oldest first; an empty list if there is no file.

    Raises:
        ValueError: the file contains something else.
    """
    if not path.exists():
        return []
    try:
        evaluations: list[dict[str, Any]] = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read as scores of gan_lab ({error})") from error
    try:
        EVALUATIONS_SHAPE(evaluations, "evaluations")
    except ValueError as error:
        raise ValueError(f"{path} holds no scores of gan_lab: {error}") from error
    return evaluations


def _read_record(path: Path, shape: Shape, name: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = parse_json(read_text(path))
        shape(content, name)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return content
