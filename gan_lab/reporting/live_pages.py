"""Pages about what still goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from gan_lab.storage.run_directory import RunDirectory

log = logging.getLogger(__name__)

Place = TypeVar("Place")

LARGEST_SHARE = 0.05
"""Of the time since the last page that writing the next may take."""


def write_run_page(directory: RunDirectory) -> None:
    from gan_lab.reporting.run_page import write_report  # brings matplotlib: not before it is needed

    write_report(directory)


def write_study_pages(folder: Path) -> None:
    from gan_lab.reporting.study_page import StudyReport, write_study

    write_study(StudyReport.read(folder))


class LivePage(Generic[Place]):
    """Rewrites a page now and then; whatever goes wrong with a page never stops a training.

    Args:
        write: writes the page about what lies at a place.
    """

    def __init__(self, write: Callable[[Place], None]) -> None:
        self._write = write
        self._not_before = 0.0

    def __call__(self, place: Place, final: bool = False) -> None:
        """Write the page, unless too little time has passed; ``final`` writes it in any case."""
        started = time.monotonic()
        if started < self._not_before and not final:
            return
        try:
            self._write(place)
        except Exception as error:
            log.warning("the report could not be written: %s", error)
        finished = time.monotonic()
        self._not_before = finished + (finished - started) / LARGEST_SHARE
