"""Standard output of the process: tables and progress bars."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, cast

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.padding import Padding
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

from gan_lab.utils.formatting import printable, printable_lines
from gan_lab.utils.streams import Output, in_notebook

log = logging.getLogger(__name__)


STDOUT = RichConsole(
    file=cast(IO[str], Output()),
    highlight=False,
    soft_wrap=True,
    markup=False,
    emoji=False,
    force_jupyter=False,
    force_terminal=False if in_notebook() else None,  # kernels set FORCE_COLOR, but a cell has no cursor to move
)
"""The only console of the process: log lines and the live table must share it, or they would overwrite each other.

Brackets in its text are no markup, as they may belong to the name of a class or a file. In a notebook its text is plain.
"""


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> None:
    """Print a table with left-aligned first column and right-aligned others, then lines of text.

    A table that is wider than the terminal, or than ``COLUMNS``, is printed in several parts that begin with the first column.
    In a pipe or a file each row is one line.

    Args:
        titles: column titles; all empty: no title row.
        rows: the cells of each row.
        notes: lines below the table.
    """
    titles = [printable(title) for title in titles]
    cells = [[printable(cell) for cell in row] for row in rows]
    for columns in split_columns(column_widths(titles, cells), line_limit()):
        STDOUT.print()
        _print_columns(titles, cells, columns)
    for n, line in enumerate(notes):
        STDOUT.print(Text(printable_lines(line if n else f"\n{line}")))


def line_limit() -> int | None:
    """Characters in a line of the terminal, or ``COLUMNS``; None in a pipe or a file."""
    return STDOUT.width if STDOUT.is_terminal or "COLUMNS" in os.environ else None


def fold(text: str, separator: str, limit: int | None, indent: int) -> str:
    """Break a text at ``separator`` into lines of at most ``limit`` characters if possible, all but the first indented."""
    if limit is None:
        return text
    lines = [""]
    for n, part in enumerate(text.split(separator)):
        joined = f"{lines[-1]}{separator}{part}" if n else part
        if n and cell_len(joined) > limit and lines[-1].strip():
            lines.append(f"{' ' * indent}{part}")
        else:
            lines[-1] = joined
    return "\n".join(lines)


MARGIN = 3
"""Spaces between two columns of a table."""


def column_widths(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The characters that each column takes in the terminal."""
    return [max(cell_len(line[n]) for line in (titles, *rows)) for n in range(len(titles))]


def split_columns(widths: Sequence[int], limit: int | None) -> list[dict[int, int]]:
    """The columns of each part of a table, with their widths.

    Args:
        widths: of all columns.
        limit: characters in a line; None: no limit, and a single part.

    Returns:
        For each part the numbers of its columns with their widths: the first column, and as many of the others as there is room
        for. Wide columns are narrower than their content, which is then wrapped.
    """
    first, *others = widths
    if limit is None:
        return [dict(enumerate(widths))]
    room = max(limit, 20)
    needed = max(others, default=0) + MARGIN if others else 0
    first = min(first, max(room // 2, room - needed))
    parts = [{0: first}]
    left = room - first
    for n, width in enumerate(others, 1):
        if MARGIN + width > left and len(parts[-1]) > 1:
            parts.append({0: first})
            left = room - first
        parts[-1][n] = max(1, min(width, left - MARGIN))
        left -= MARGIN + width
    return parts


def _print_columns(titles: Sequence[str], rows: Sequence[Sequence[str]], columns: Mapping[int, int]) -> None:
    table = Table(box=None, padding=0, pad_edge=False, show_header=any(titles))
    for n, width in columns.items():
        title = Text(titles[n], overflow="fold")
        table.add_column(title, justify="right" if n else "left", width=width + (MARGIN if n else 0), overflow="fold")
    for row in rows:
        table.add_row(*(Padding(Text(row[n], overflow="fold"), (0, 0, 0, MARGIN if n else 0)) for n in columns))
    width = sum(columns.values()) + MARGIN * len(columns)
    RichConsole(file=STDOUT.file, width=width, force_terminal=STDOUT.is_terminal).print(table, crop=False)


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
    return _Bars(text_column("{task.description:<6}"), *columns, _Remaining(), console=STDOUT, expand=True)


class _Bars(Progress):
    """Ends with an empty line, on which the terminal echoes ``^C``: after a full line that would move the bars down by one."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text()


class _Remaining(TimeRemainingColumn):
    """Also shows 0:00:00 for a bar that has just been completed, where rich shows nothing."""

    def render(self, task: Task) -> Text:
        return Text("0:00:00", style="progress.remaining") if task.finished else super().render(task)
