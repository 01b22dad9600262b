"""Says which of several runs begins, and how long the others will probably take."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)


class RunClock:
    """Logs ``run 2 of 6, about 12 min to go`` at the beginning of each run of a process.

    The estimate is the pace at which the numbers of the runs have increased since the first one of this process, so it counts
    what other workers of a study do.

    Attributes:
        total: number of runs of the command; None if it is not known, as in the process of another launcher.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self._first: tuple[int, float] | None = None

    def begin(self, noun: str, number: int, total: int | None = None) -> None:
        """A run begins.

        Args:
            noun: what it is called.
            number: counted from 1.
            total: number of runs; None: :attr:`total`.
        """
        total = self.total if total is None else total
        now = time.monotonic()
        first, since = self._first = self._first or (number, now)
        if total is None or total < 2:
            return
        rest = ""
        if number > first:
            seconds = (now - since) / (number - first) * (total - number + 1)
            rest = f", about {_rounded(seconds)} to go"
        log.info("%s %d of %d%s", noun, number, total, rest)


def _rounded(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


CLOCK = RunClock()
"""The clock of this process."""
