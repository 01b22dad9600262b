"""Writes ``metrics.jsonl`` and ``summary.json`` in the run directory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RESUMED, RunDirectory
from gan_lab.tracking.base import Row, RunInfo, Tracker


class Files(Tracker):
    """Appends each row to ``metrics.jsonl``, flushed line by line, and writes ``summary.json`` at the end.

    A resume or a roll-back appends a marker line, which :meth:`RunDirectory.history` interprets.
    """

    def start(self, info: RunInfo) -> None:
        self._directory = RunDirectory(info.directory)
        path = self._directory.metrics
        incomplete = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._lines = path.open("a", encoding="utf-8", buffering=1)
        if incomplete:  # a crash has cut off the last line
            self._lines.write("\n")
        if info.first_image:
            self.roll_back(info.first_image)

    def metrics(self, row: Row) -> None:
        self._write(row)

    def roll_back(self, images: int) -> None:
        self._write({RESUMED: True, "images": images})

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.close()
        write_summary(self._directory, summary)

    def close(self) -> None:
        """Close ``metrics.jsonl``."""
        self._lines.close()

    def _write(self, row: Row) -> None:
        finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        self._lines.write(json.dumps(finite) + "\n")  # JSON has neither NaN nor infinity


def write_summary(directory: RunDirectory, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json``."""
    write_atomically(directory.summary, json.dumps(summary, indent=2) + "\n")
