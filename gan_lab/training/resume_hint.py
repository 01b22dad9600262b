"""The last words of a run: where its results are, or how to go on."""

from __future__ import annotations

import logging
from shlex import quote

from gan_lab.storage.run_directory import COMPLETED, PRUNED, RunDirectory
from gan_lab.training.monitor import Alarm

log = logging.getLogger(__name__)

CHANGES = {"diverged": " optimizer.lr=...", "early_stopped": " 'health.stop_at=[]'"}
"""What a resume is given besides, for it might end in the same way."""


def log_resume_hint(directory: RunDirectory, status: str, ended_by: Alarm | None) -> None:
    """After a training that has ended with ``status``, by an alarm or not."""
    if ended_by is not None and status in COMPLETED:
        log.info("the alarm was %s at %s images: %s", ended_by.alarm, f"{ended_by.images:,}", ended_by.text)
    if status in COMPLETED:
        log.info("look at %s and %s", directory.final, directory.report)
    if status != "finished" and directory.checkpoint("last").exists():
        change = "" if ended_by is not None and ended_by.alarm == PRUNED else CHANGES.get(status, "")
        command = f"python -m gan_lab.train resume={quote(str(directory.path))}{change}"
        log.info("go on from the last checkpoint: %s", command)
