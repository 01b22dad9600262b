"""A small sweep as the tests run it, and the records it leaves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from helpers import SMALL, run_module

SWEEP = [*SMALL, "sweep=quality", "batch_size=16", "penalty=none"]
"""A search over learning rates and losses; a run has 4 steps."""


def sweep(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``gan_lab.train -m`` with :data:`SWEEP` and more arguments, which must succeed."""
    done = run_module("train", "-m", *SWEEP, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def record(cwd: Path, name: str = "quality") -> dict[str, Any]:
    """The content of a study's ``study.json``."""
    found: dict[str, Any] = json.loads((cwd / "multirun" / name / "study.json").read_text())
    return found
