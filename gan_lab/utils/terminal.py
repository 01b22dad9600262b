"""Standard output of the process: tables and progress bars."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from gan_lab.utils.formatting import printable

log = logging.getLogger(__name__)


class _Stdout(RichConsole):
    """Discards output after its pipe was closed, so that ``| head`` does not end a run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


STDOUT = _Stdout(highlight=False, soft_wrap=True, markup=False, emoji=False)
"""The only console of the process: log lines and the live table must share it, or they would overwrite each other.

Brackets in its text are no markup, as they may belong to the name of a class or a file.
"""


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> None:
    """Print a table with left-aligned first column and right-aligned others, then lines of text.

    Args:
        titles: column titles; all empty: no title row.
        rows: the cells of each row.
        notes: lines below the table.
    """
    table = Table(box=None, padding=(0, 3, 0, 0), show_header=any(titles))
    for n, title in enumerate(titles):
        table.add_column(Text(title), justify="right" if n else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    full_width = Measurement.get(STDOUT, STDOUT.options.update(max_width=10_000), table).maximum
    # a line longer than the window rather than a table without some of its columns
    wide = RichConsole(file=STDOUT.file, width=max(full_width, STDOUT.width), force_terminal=STDOUT.is_terminal)
    STDOUT.print()
    wide.print(table, crop=False)
    for n, line in enumerate(notes):
        STDOUT.print(Text(line if n else f"\n{line}"))


@contextmanager
def progress_bar(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function ``report(done, total)`` that shows a progress bar; without a terminal it logs a line every ten seconds.

    Args:
        description: what is being done.
        unit: what is counted, in the plural.
    """
    bar = _progress(
        BarColumn(), TaskProgressColumn(), text_column("{task.fields[note]}"), TimeElapsedColumn(), text_column("eta")
    )
    task = None
    started = last_log = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal task, last_log
        now = time.monotonic()
        note = f"{done:,} of {total:,} {unit}, {done / max(now - started, 1e-9):,.0f}/s"
        if STDOUT.is_terminal:
            if task is None:
                bar.start()
                task = bar.add_task(printable(description), note="")
            bar.update(task, completed=done, total=total, note=note)
        elif now - last_log > 10 or done == total:
            last_log = now
            log.info("%s: %s", description, note)

    try:
        yield report
    finally:
        if task is not None:
            bar.stop()


def text_column(template: str) -> TextColumn:
    """A column of a progress bar whose text has no markup."""
    return TextColumn(template, markup=False)


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(text_column("{task.description:<6}"), *columns, _Remaining(), console=STDOUT, expand=True)


class _Remaining(TimeRemainingColumn):
    """Also shows 0:00:00 for a bar that has just been completed, where rich shows nothing."""

    def render(self, task: Task) -> Text:
        return Text("0:00:00", style="progress.remaining") if task.finished else super().render(task)
