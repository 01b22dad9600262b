"""Logs to Weights & Biases; offline by default, so that no run waits for a login."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_lab.storage.run_directory import COMPLETED
from gan_lab.tracking.base import Row, RunInfo, Tracker

SCORE = "score"
"""Key under which the primary score is logged again: the same key in all runs, for W&B sweeps and panels across datasets."""


class Wandb(Tracker):
    """Logs metrics, image grids, alarms, configuration and summary of a run to W&B.

    Args:
        project: W&B project.
        entity: W&B user or team, None for the default one.
        mode: ``offline`` (``wandb sync`` uploads later), ``online`` or ``disabled``.
        tags: tags of the run.

    Raises:
        ValueError: ``mode`` is none of these.
    """

    def __init__(self, project: str, mode: str, entity: str | None = None, tags: list[str] | None = None) -> None:
        if mode not in ("offline", "online", "disabled"):
            raise ValueError(f"tracker.wandb.mode={mode}: must be one of offline, online, disabled")
        self._project, self._entity, self._mode, self._tags = project, entity, mode, tags or []
        self._id: str | None = None
        self._score: str | None = None

    def start(self, info: RunInfo) -> None:
        import wandb  # takes a second

        self._wandb = wandb
        # the agent of a W&B sweep sets WANDB_RUN_ID
        self._id = self._id or os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8]
        self._score = info.score
        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            mode=self._mode,  # type: ignore[arg-type]
            dir=str(info.directory),
            id=self._id,
            resume="allow",
            name=info.name,
            group=info.group,
            job_type="train",
            tags=self._tags,
            config=info.config,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="progress/images")
        for name in filter(None, (SCORE, info.score)):
            self._run.define_metric(name, step_metric="progress/images", summary="last,min")

    def metrics(self, row: Row) -> None:
        score = {SCORE: row[self._score]} if self._score is not None and self._score in row else {}
        self._run.log({"progress/images": row["images"], **{k: v for k, v in row.items() if k != "images"}, **score})

    def image_grid(self, name: str, path: Path, images: int) -> None:
        self._run.log({"progress/images": images, name: self._wandb.Image(str(path))})

    def alarm(self, name: str, text: str, images: int) -> None:
        self._run.alert(title=name, text=f"{text} ({images:,} images)", level="WARN")

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update({f"final/{name}": value for name, value in summary.items() if not isinstance(value, Mapping)})
        self._run.finish(exit_code=0 if summary["status"] in COMPLETED else 1)

    def state_dict(self) -> dict[str, Any]:
        return {"id": self._id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._id = state.get("id")
