"""The interface of a tracker, and the one that forwards to several."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan_lab.utils.formatting import first_line

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
"""One line of ``metrics.jsonl``: ``images`` and ``epoch`` so far, ``seconds`` of training, then metrics by name."""


@dataclass(frozen=True)
class RunInfo:
    """A run as trackers see it before its first step.

    Attributes:
        directory: the run directory.
        name: short name: the overrides of the default configuration.
        group: the multirun it belongs to, or None.
        config: the resolved configuration as nested dictionaries.
        choices: the chosen option of each group, such as ``model: dcgan``; several are joined by ``+``.
        total_images: real images at which the training ends.
        images_per_epoch: real images in one pass over the dataset.
        first_image: real images seen before this process started; 0 unless the run is resumed.
        score: name of the primary score, or None if there is none.
        facts: the lines that the console prints at the start, by heading.
        rate_keys: the keys that set the learning rates.
    """

    directory: Path
    name: str
    group: str | None
    config: dict[str, Any]
    total_images: int
    images_per_epoch: int
    first_image: int = 0
    score: str | None = None
    choices: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    rate_keys: tuple[str, ...] = ("optimizer.lr",)


class Tracker:
    """Base class whose methods do nothing; a back end overrides those for what it can show.

    ``images`` is the number of real images seen so far.
    """

    def start(self, info: RunInfo) -> None:
        """Called once, before the first step."""

    def progress(self, images: int) -> None:
        """Called after every step, so it must take microseconds only."""

    def activity(self, what: str, done: int, total: int) -> None:
        """Progress of work that the training waits for, such as an evaluation: ``done`` of ``total`` images."""

    def metrics(self, row: Row) -> None:
        """A new row of metrics, at every logging interval and after every evaluation."""

    def image_grid(self, name: str, path: Path, images: int) -> None:
        """An image grid was written to ``path``; ``name`` is ``samples`` or ``reals``."""

    def alarm(self, name: str, text: str, images: int) -> None:
        """The check ``name`` has raised an alarm; ``text`` describes the problem."""

    def roll_back(self, images: int) -> None:
        """The run went back to a checkpoint: everything logged after ``images`` images is invalid."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Called once with the content of ``summary.json``, also if the training has failed."""

    def state_dict(self) -> dict[str, Any]:
        """State that a resumed run needs to continue the same record, such as the id of a W&B run."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Called before :meth:`start` of a resumed run."""


class Trackers(Tracker):
    """Forwards each call to several trackers. One that raises is dropped with a warning and doesn't stop the training.

    Args:
        trackers: by name.
        essential: names of trackers whose exceptions are raised, such as the one that writes the run's own files.
    """

    def __init__(self, trackers: Mapping[str, Tracker], essential: Iterable[str] = ()) -> None:
        self._trackers = dict(trackers)
        self._essential = frozenset(essential)
        self._loaded: Mapping[str, Any] = {}

    def start(self, info: RunInfo) -> None:
        self._each("start", info)

    def progress(self, images: int) -> None:
        self._each("progress", images)

    def activity(self, what: str, done: int, total: int) -> None:
        self._each("activity", what, done, total)

    def metrics(self, row: Row) -> None:
        self._each("metrics", row)

    def image_grid(self, name: str, path: Path, images: int) -> None:
        self._each("image_grid", name, path, images)

    def alarm(self, name: str, text: str, images: int) -> None:
        self._each("alarm", name, text, images)

    def roll_back(self, images: int) -> None:
        self._each("roll_back", images)

    def finish(self, summary: Mapping[str, Any]) -> None:
        for name in reversed(list(self._trackers)):  # essential ones come first and may raise, so they finish last
            self._call(name, "finish", summary)

    def state_dict(self) -> dict[str, Any]:
        return {**self._loaded, **self._each("state_dict")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._loaded = dict(state)  # that of a tracker which is dropped, or not configured this time, is kept
        for name in list(self._trackers):
            self._call(name, "load_state_dict", state.get(name, {}))

    def _each(self, method: str, *arguments: Any) -> dict[str, Any]:
        """Call a method of every tracker; the results by name, of those that have not failed."""
        results = {name: self._call(name, method, *arguments) for name in list(self._trackers)}
        return {name: result for name, result in results.items() if name in self._trackers}

    def _call(self, name: str, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._trackers[name], method)(*arguments)
        except Exception as error:  # back ends raise many types
            if name in self._essential:
                raise
            log.warning("tracker %s failed and is disabled for the rest of the run: %s", name, first_line(error))
            self._drop(name)

    def _drop(self, name: str) -> None:
        tracker = self._trackers.pop(name)
        with suppress(Exception):
            self._loaded = {**self._loaded, name: tracker.state_dict()}  # a resume continues its record
