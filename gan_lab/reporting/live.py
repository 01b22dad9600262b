"""The report of a run that goes on."""

from __future__ import annotations

import logging
import time

from gan_lab.directory import RunDirectory

log = logging.getLogger(__name__)

LARGEST_SHARE = 0.05
"""Of the time since the last page that writing the next may take."""


class LiveReport:
    """Rewrites the page now and then; whatever goes wrong with a page never stops a training."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def __call__(self, directory: RunDirectory, final: bool = False) -> None:
        """Write the page, unless too little time has passed; ``final`` writes it in any case."""
        started = time.monotonic()
        if started < self._not_before and not final:
            return
        try:
            from gan_lab.reporting.page import write_report  # brings matplotlib: not before it is needed

            write_report(directory)
        except Exception as error:
            log.warning("the report could not be written: %s", error)
        finished = time.monotonic()
        self._not_before = finished + (finished - started) / LARGEST_SHARE
