"""Pages that are rewritten while a run or a study is in progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from gan_lab.storage.run_directory import RunDirectory

log = logging.getLogger(__name__)

Location = TypeVar("Location")

MAX_TIME_FRACTION = 0.02
"""Upper bound of the fraction of the time that is spent on writing pages."""


def write_run_page(directory: RunDirectory, find_changes: Callable[[RunDirectory], Sequence[Any]]) -> None:
    """Write ``report.html`` of a run.

    Args:
        directory: of the run.
        find_changes: finds the values of its configuration that are not the default ones.
    """
    from gan_lab.reporting.run_page import write_report  # imports matplotlib

    write_report(directory, find_changes(directory))


def write_study_pages(folder: Path) -> None:
    """Write ``study.html`` and the tables of a study."""
    from gan_lab.reporting.study_page import StudyReport, write_study

    write_study(StudyReport.read(folder))


class LivePage(Generic[Location]):
    """Rewrites a page as often as :data:`MAX_TIME_FRACTION` allows. An exception is logged and doesn't stop the training.

    Args:
        write: writes the page of a run directory or of a study's folder.
    """

    def __init__(self, write: Callable[[Location], None]) -> None:
        self._write = write
        self._not_before = 0.0

    def __call__(self, location: Location, final: bool = False) -> bool:
        """Write the page, unless the last one was written too recently; with ``final`` in any case.

        Returns:
            Whether the page was written.
        """
        started = time.monotonic()
        if started < self._not_before and not final:
            return False
        written = True
        try:
            self._write(location)
        except Exception as error:
            written = False
            log.warning("the page can't be written: %s", error)
        finished = time.monotonic()
        self._not_before = finished + (finished - started) / MAX_TIME_FRACTION
        return written
