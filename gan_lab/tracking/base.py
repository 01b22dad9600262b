"""The shape of a tracker, and the fan-out to several."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
"""One line of ``metrics.jsonl``: ``images``, ``epoch``, ``seconds``, then figures by name."""


@dataclass(frozen=True)
class RunInfo:
    """What a tracker may know of a run before it starts.

    Attributes:
        directory: the run directory.
        name: short, for people: the overrides that make it what it is.
        group: the multirun it belongs to, or None.
        config: the resolved configuration as plain dictionaries.
        total_images: images the training ends at.
        images_per_epoch: images in one pass over the data set.
        first_image: images already seen when this process starts; not 0 after a resume.
        score: name of the figure the run is judged by, or None.
        facts: what the console says at the start, by heading.
    """

    directory: Path
    name: str
    group: str | None
    config: dict[str, Any]
    total_images: int
    images_per_epoch: int
    first_image: int = 0
    score: str | None = None
    facts: dict[str, str] = field(default_factory=dict)


class Tracker:
    """Does nothing; each back end overrides what it can show."""

    def start(self, info: RunInfo) -> None:
        """Before the first step."""

    def progress(self, images: int) -> None:
        """After every step; must cost microseconds."""

    def activity(self, what: str, done: int, total: int) -> None:
        """While the training rests for something that takes time, such as a score."""

    def metrics(self, row: Row) -> None:
        """At every logging interval, and for every evaluation."""

    def picture(self, name: str, path: Path, images: int) -> None:
        """A picture file was written; ``name`` is ``samples`` or ``reals``."""

    def alarm(self, name: str, text: str, images: int) -> None:
        """Something goes wrong: ``text`` is a sentence, ``name`` the check that has found it."""

    def roll_back(self, images: int) -> None:
        """The run has gone back to an earlier moment: what came after ``images`` no longer belongs to it."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """After the last step, however it ended."""

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs to go on in the same place, such as a run's id."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Called before :meth:`start` of a resumed run."""


class Trackers(Tracker):
    """Passes everything on. A tracker that fails is dropped with a warning: no back end may stop a training.

    Args:
        trackers: by name. Those in ``essential`` may fail loudly: without its own files a run is worth nothing.
    """

    def __init__(self, trackers: Mapping[str, Tracker], essential: Iterable[str] = ()) -> None:
        self._trackers = dict(trackers)
        self._essential = frozenset(essential)

    def start(self, info: RunInfo) -> None:
        self._each("start", info)

    def progress(self, images: int) -> None:
        self._each("progress", images)

    def activity(self, what: str, done: int, total: int) -> None:
        self._each("activity", what, done, total)

    def metrics(self, row: Row) -> None:
        self._each("metrics", row)

    def picture(self, name: str, path: Path, images: int) -> None:
        self._each("picture", name, path, images)

    def alarm(self, name: str, text: str, images: int) -> None:
        self._each("alarm", name, text, images)

    def roll_back(self, images: int) -> None:
        self._each("roll_back", images)

    def finish(self, summary: Mapping[str, Any]) -> None:
        for name in reversed(self._trackers):  # essential ones come first, and may raise: the others are told before
            Trackers({name: self._trackers[name]}, self._essential)._each("finish", summary)

    def state_dict(self) -> dict[str, Any]:
        return {name: tracker.state_dict() for name, tracker in self._trackers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, tracker in self._trackers.items():
            tracker.load_state_dict(state.get(name, {}))

    def _each(self, method: str, *arguments: Any) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                if name in self._essential:
                    raise
                log.warning("tracker %s failed and is left out from here on: %s", name, error)
                del self._trackers[name]
