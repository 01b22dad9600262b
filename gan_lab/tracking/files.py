"""Writes ``metrics.jsonl`` and ``summary.json`` in the run directory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gan_lab.storage.files import naming_file, write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking.base import Row, RunInfo, Tracker


class Files(Tracker):
    """Appends each row to ``metrics.jsonl``, flushed line by line, and writes ``summary.json`` at the end.

    A resume or a roll-back removes the rows of later images, which will be trained again. A resume also removes rows of the
    checkpoint's step that are newer than the checkpoint.
    """

    def __init__(self) -> None:
        self._rows: int | None = None

    def start(self, info: RunInfo) -> None:
        self._directory = RunDirectory(info.directory)
        self._open(info.first_image)

    def metrics(self, row: Row) -> None:
        finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        with naming_file(self._directory.metrics):
            self._lines.write(json.dumps(finite) + "\n")  # JSON has neither NaN nor infinity
        self._rows = (self._rows or 0) + 1

    def roll_back(self, images: int) -> None:
        self.close()
        self._rows = None
        self._open(images)

    def finish(self, summary: Mapping[str, Any]) -> None:
        try:
            self.close()
        finally:
            write_summary(self._directory, summary)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows or 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows = state.get("rows")  # None: of a version that did not count them

    def close(self) -> None:
        """Close ``metrics.jsonl``."""
        with naming_file(self._directory.metrics):
            self._lines.close()

    def _open(self, images: int) -> None:
        """Open ``metrics.jsonl`` for rows after ``images`` images; those of the untrained networks are recorded again at 0."""
        path, kept = self._directory.metrics, list[dict[str, Any]]()
        if path.exists():
            kept = [row for row in self._directory.history() if row["images"] <= images and images][: self._rows]
            text = "".join(json.dumps(row) + "\n" for row in kept)
            if text != path.read_text(encoding="utf-8", errors="replace"):
                write_atomically(path, text)
        self._rows = len(kept)
        self._lines = path.open("a", encoding="utf-8", buffering=1)


def write_summary(directory: RunDirectory, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json``.

    Raises:
        OSError: it can't be written. On a full disk a run that was running becomes a failed one all the same.
    """
    try:
        write_atomically(directory.summary, json.dumps(summary, indent=2) + "\n")
    except OSError:
        with suppress(OSError):
            _mark_as_failed(directory.summary)
        raise


def _mark_as_failed(path: Path) -> None:
    """Replace the status within the file, which takes no space: the text keeps its length."""
    running, failed = b'"status": "running"', b'"status": "failed" '
    with path.open("r+b") as handle:
        if (start := handle.read().find(running)) >= 0:
            handle.seek(start)
            handle.write(failed)
