"""The run directory's own records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RESUMED, RunDirectory
from gan_lab.tracking.base import Row, RunInfo, Tracker


class Files(Tracker):
    """``metrics.jsonl``, flushed line by line, and ``summary.json``."""

    def start(self, info: RunInfo) -> None:
        self._directory = RunDirectory(info.directory)
        path = self._directory.metrics
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._lines = path.open("a", encoding="utf-8", buffering=1)
        if torn:
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
        """Let go of ``metrics.jsonl``; every line is in it already."""
        self._lines.close()

    def _write(self, row: Row) -> None:
        finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        self._lines.write(json.dumps(finite) + "\n")  # JSON has no NaN


def write_summary(directory: RunDirectory, summary: Mapping[str, Any]) -> None:
    write_atomically(directory.summary, json.dumps(summary, indent=2) + "\n")
