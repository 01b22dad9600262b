"""Logs to Weights & Biases; offline by default, so that no run waits for a login."""

from __future__ import annotations

import logging
import os
import re
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from gan_lab.storage.run_directory import COMPLETED
from gan_lab.tracking.base import Row, RunInfo, Tracker
from gan_lab.utils.formatting import first_line, hide_passwords
from gan_lab.utils.image_ops import open_grid

log = logging.getLogger(__name__)

SCORE = "score"
"""Key under which the primary score is logged again: the same key in all runs, for W&B sweeps and panels across datasets."""

RUN_ID = "WANDB_RUN_ID"
"""Environment variable in which the agent of a W&B sweep gives the id of the run."""

ID = re.compile(r"[\w-]{1,64}")
"""Ids of runs that a checkpoint may hold; W&B names a folder after them."""

TAKEN_IDS: set[str] = set()
"""Values of :data:`RUN_ID` that were refused to, or used by, a run of this process."""


class Wandb(Tracker):
    """Logs metrics, image grids, alarms, configuration and summary of a run to W&B. The step is the number of real images seen.

    W&B's steps only increase: what a run logs again, after it was resumed from an earlier checkpoint or went back to one, is
    left out until it is past the last step.

    Args:
        project: W&B project.
        mode: ``offline`` (``wandb sync`` uploads later), ``online`` or ``disabled``. A run that can't reach W&B is logged
            offline, with a warning.
        entity: W&B user or team, None for the default one.
        tags: tags of the run.
        timeout: seconds to wait for W&B at the start and at the end of a run. What is not uploaded by then stays in the run
            directory.

    Raises:
        ValueError: ``mode`` is none of these, or ``timeout`` is not positive.
    """

    def __init__(
        self, project: str, mode: str, entity: str | None = None, tags: list[str] | None = None, timeout: float = 60.0
    ) -> None:
        if mode not in ("offline", "online", "disabled"):
            raise ValueError(f"tracker.wandb.mode={mode}: must be one of offline, online, disabled")
        if not timeout > 0:
            raise ValueError(f"tracker.wandb.timeout={timeout}: must be a positive number of seconds")
        self._project, self._entity, self._mode, self._tags = project, entity, mode, tags or []
        self._timeout = timeout
        self._id: str | None = None
        self._score: str | None = None
        self._step = 0

    def start(self, info: RunInfo) -> None:
        import wandb  # takes a second

        self._wandb, self._info, self._score, self._step = wandb, info, info.score, info.first_image
        self._id = self._id or given_id(info) or _new_id()
        self._run = self._open()
        self._run.define_metric("*", step_metric="progress/images")
        for name in filter(None, (SCORE, info.score)):
            self._run.define_metric(name, step_metric="progress/images", summary="last,min")

    def metrics(self, row: Row) -> None:
        score = {SCORE: row[self._score]} if self._score is not None and self._score in row else {}
        self._log(row["images"], {**{k: v for k, v in row.items() if k != "images"}, **score})

    def image_grid(self, name: str, path: Path, images: int) -> None:
        epoch = f"{images / self._info.images_per_epoch:.4g}"
        caption = "real images" if name == "reals" else f"{name} after {images:,} images, epoch {epoch}"
        self._log(images, {name: self._wandb.Image(open_grid(path), caption=caption)})

    def alarm(self, name: str, text: str, images: int) -> None:
        self._run.alert(title=name, text=f"{text} ({images:,} images)", level="WARN")

    def finish(self, summary: Mapping[str, Any]) -> None:
        values = {f"final/{name}": value for name, value in summary.items() if isinstance(value, str | int | float)}
        if (name := summary.get("score")) is not None:
            values[f"final/{SCORE}_name"] = name
            for when in ("final", "best"):
                values[f"{when}/{SCORE}"] = summary[when].get(name)
            values["best/images"] = summary["best"].get("images")
        values["final/alarms"] = ", ".join(dict.fromkeys(alarm["alarm"] for alarm in summary["alarms"]))
        self._run.summary.update(values)
        try:
            self._run.finish(exit_code=0 if summary["status"] in COMPLETED else 1)
        except TimeoutError:
            log.warning(
                "W&B: not everything was uploaded within %g s; upload the rest with: %s", self._timeout, self._command()
            )
            return
        if self._run.offline:
            log.info("W&B is offline; upload the run with: %s", self._command())

    def state_dict(self) -> dict[str, Any]:
        return {"id": self._id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        stored = state.get("id")
        self._id = stored if isinstance(stored, str) and ID.fullmatch(stored) else None

    def _log(self, images: int, values: Mapping[str, Any]) -> None:
        if images >= self._step:
            self._step = images
            self._run.log({"progress/images": images, **values}, step=images)

    def _open(self) -> Any:
        """The W&B run; offline if W&B can't be reached."""
        if self._mode != "online":
            return self._init(self._mode)
        reason = "there is no login; `wandb login` stores one"
        try:
            if self._wandb.login(prompt=False):  # without an answer of the server within ten seconds it raises an error
                try:
                    return self._init("online")
                except Exception:
                    self._id = _new_id()  # the other one stays in use until the process ends
                    raise
        except Exception as error:  # the network, the server, the key: many types
            reason = first_line(error)
        log.warning("W&B can't be used online (%s); the run is logged offline", reason)
        return self._init("offline")

    def _init(self, mode: str) -> Any:
        timeout = self._timeout
        arguments, sys.argv = sys.argv, hide_passwords(sys.argv)  # W&B records them
        try:
            return self._start(mode, timeout)
        finally:
            sys.argv = arguments

    def _start(self, mode: str, timeout: float) -> Any:
        return self._wandb.init(
            project=self._project,
            entity=self._entity,
            mode=mode,  # type: ignore[arg-type]
            dir=str(self._info.directory),
            id=self._id,
            resume="allow",
            reinit="create_new",  # an earlier run of this process may have failed to finish
            name=self._info.name,
            group=self._info.group,
            job_type="train",
            tags=self._tags,
            config={**self._info.config, "choices": self._info.choices},
            settings=self._wandb.Settings(
                silent=True, console="off", init_timeout=timeout, finish_timeout=timeout, finish_timeout_raises=True
            ),
        )

    def _command(self) -> str:
        """The command that uploads the run; a run that was resumed has several folders."""
        folder = self._info.directory / "wandb"
        folders = sorted(folder.glob(f"*run-*-{self._id}")) or [Path(self._run.dir).parent]
        return f"wandb sync {' '.join(quote(str(path)) for path in folders)}"


def _new_id() -> str:
    return uuid.uuid4().hex[:8]


def given_id(info: RunInfo) -> str | None:
    """The id that the agent of a W&B sweep has given to the run of this process; None, with a warning, if there are several."""
    given = os.environ.get(RUN_ID)
    if not given:
        return None
    if info.group is None and given not in TAKEN_IDS:
        TAKEN_IDS.add(given)
        return given
    if given not in TAKEN_IDS or info.group is None:
        log.warning("%s=%s names a single run; each of these runs gets an id of its own", RUN_ID, given)
    TAKEN_IDS.add(given)
    return None
