"""The one terminal of the process: tables and progress bars on standard output."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

log = logging.getLogger(__name__)


class _Stdout(RichConsole):
    """Goes on in silence when nobody listens any more: a training must not end because ``| head`` did."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


STDOUT = _Stdout(highlight=False, soft_wrap=True)
"""The one console of the process: log lines and the live table must share it, or they would overwrite each other."""


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str] = ()) -> None:
    """A table, the first column to the left; then lines of text."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    for n, title in enumerate(titles):
        table.add_column(Text(title), justify="right" if n else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    whole = Measurement.get(STDOUT, STDOUT.options.update(max_width=10_000), table).maximum
    # a line that is too long for the window is better than one without its figures
    wide = RichConsole(file=STDOUT.file, width=max(whole, STDOUT.width), force_terminal=STDOUT.is_terminal)
    STDOUT.print()
    wide.print(table, crop=False)
    STDOUT.print()
    for line in below:
        STDOUT.print(Text(line))


@contextmanager
def progress_bar(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A function ``(done, total)`` that shows a bar with rate and time to go, or, when piped, a line every ten seconds."""
    bar = _progress(
        BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TextColumn("eta")
    )
    task = None
    started = told = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal task, told
        now = time.monotonic()
        note = f"{done:,} of {total:,} {unit}, {done / max(now - started, 1e-9):,.0f}/s"
        if STDOUT.is_terminal:
            if task is None:
                bar.start()
                task = bar.add_task(description, note="")
            bar.update(task, completed=done, total=total, note=note)
        elif now - told > 10 or done == total:
            told = now
            log.info("%s: %s", description, note)

    try:
        yield report
    finally:
        if task is not None:
            bar.stop()


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(TextColumn("{task.description:<6}"), *columns, _Remaining(), console=STDOUT, expand=True)


class _Remaining(TimeRemainingColumn):
    """Also says 0:00:00 for a bar that has just been filled, where rich leaves a gap."""

    def render(self, task: Task) -> Text:
        return Text("0:00:00", style="progress.remaining") if task.finished else super().render(task)
