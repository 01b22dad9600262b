"""The console: a live table in a terminal, one plain line a tick when piped."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from gan_lab.tracking.base import Row, RunInfo, Tracker
from gan_lab.utils.formatting import CI_SUFFIX, format_with_ci
from gan_lab.utils.terminal import STDOUT, _progress

log = logging.getLogger(__name__)


MODES = ("auto", "live", "plain")


class ConsoleHandler(logging.Handler):
    """A log handler that prints on :data:`STDOUT`, above the live table if there is one.

    ``table_shown`` is true while there is one: then a record that says ``in_table`` is not printed as well.
    """

    table_shown = False

    def emit(self, record: logging.LogRecord) -> None:
        if not (ConsoleHandler.table_shown and getattr(record, "in_table", False)):
            STDOUT.print(Text(self.format(record)))


class Console(Tracker):
    """Progress with the time to go, and the latest figures of both players.

    Args:
        mode: ``live``, ``plain``, or ``auto``: live in a terminal.
    """

    def __init__(self, mode: str = "auto") -> None:
        if mode not in MODES:
            raise ValueError(f"console={mode}: must be one of {', '.join(MODES)}")
        self._live = (
            Live(console=STDOUT, refresh_per_second=4) if mode == "live" or (mode == "auto" and STDOUT.is_terminal) else None
        )

    def start(self, info: RunInfo) -> None:
        self._info = info
        self._rows: dict[str, list[float]] = {}
        for heading, text in info.facts.items():
            log.info("%-9s %s", heading, text)
        note = TextColumn("{task.fields[note]}")
        self._bars = _progress(BarColumn(bar_width=None), TaskProgressColumn(), note, TimeElapsedColumn(), TextColumn("eta"))
        self._run = self._bars.add_task("run", total=info.total_images, completed=info.first_image, note="")
        self._epoch = self._bars.add_task("epoch", total=info.images_per_epoch, note="")
        self._activity = self._bars.add_task("", total=None, note="", visible=False)
        self._told = time.monotonic()
        self._epoch_number = -1
        if self._live is not None:
            self._live.start()
            ConsoleHandler.table_shown = True

    def progress(self, images: int) -> None:
        if self._live is None:
            return
        epoch, within = divmod(images - 1, self._info.images_per_epoch)
        if epoch != self._epoch_number:
            self._epoch_number = epoch
            self._bars.reset(self._epoch, total=self._info.images_per_epoch)
        total = self._info.total_images / self._info.images_per_epoch
        self._bars.update(self._epoch, completed=within + 1, note=f"{epoch + 1}/{total:g}")
        self._bars.update(self._run, completed=images, note=f"{images / 1000:.1f}k images")

    def activity(self, what: str, done: int, total: int) -> None:
        """A bar of its own while it goes on; when piped, a line every ten seconds."""
        note = f"{done:,} of {total:,} images"
        self._bars.update(self._activity, description=what, completed=done, total=total, note=note, visible=done < total)
        if self._live is None and done < total and time.monotonic() > self._told + 10:
            self._told = time.monotonic()
            log.info("%s: %s", what, note)

    def metrics(self, row: Row) -> None:
        self._told = time.monotonic()
        log.info(plain_line(row), extra={"in_table": True})
        for name, value in row.items():
            if name not in ("images", "epoch", "seconds"):
                self._rows[name] = [*self._rows.get(name, [])[-1:], value]
        if self._live is not None:
            self._live.update(self._render())

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._live is not None:
            self._live.stop()
            ConsoleHandler.table_shown = False

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column()
            table.add_column(justify="right")
            table.add_column(width=1)
        sides = [_prefixed(self._rows, "d/"), _prefixed(self._rows, "g/"), _neither(self._rows, ("d/", "g/"))]
        for line in range(max(map(len, sides))):
            cells: list[Text] = []
            for side in sides:
                cells += _cells(*side[line]) if line < len(side) else [Text(), Text(), Text()]
            table.add_row(*cells)
        return Group(Panel(table, title=self._info.name, title_align="left", border_style="dim"), self._bars)


IN_A_LINE = {
    "d/loss": "d/loss",
    "g/loss": "g/loss",
    "d/accuracy_real": "d/real",
    "d/accuracy_fake": "d/fake",
    "g/fool_rate": "g/fool",
    "d/overfitting": "d/overfit",
    "pretraining/loss": "pixels",
    "growth/resolution": "resolution",
    "growth/alpha": "alpha",
    "time/images_per_second": "images/s",
    "time/seconds_per_epoch": "s/epoch",
}
"""Of a tick's figures, those a plain line has room for; the rest stands in ``metrics.jsonl``. Scores are told, but for some."""

UNTOLD = ("precision", "recall", "density", "copies")
"""What names of scores begin with that a plain line has no room for."""


def plain_line(row: Row) -> str:
    """``epoch 2.50  25.0k images  d/loss 0.693  ...``"""
    figures = "  ".join(f"{IN_A_LINE.get(name, name)} {format_with_ci(row, name)}" for name in row if _told(name))
    return f"epoch {row['epoch']:.2f}  {row['images'] / 1000:.1f}k images  {figures}"


def _told(name: str) -> bool:
    if "/" in name or name in ("images", "epoch", "seconds"):
        return name in IN_A_LINE
    return not (name.endswith(CI_SUFFIX) or name.partition("_")[0] in UNTOLD)


def _short(value: float) -> str:
    return f"{value:.4g}"


def _prefixed(rows: Mapping[str, list[float]], prefix: str) -> list[tuple[str, list[float]]]:
    return [item for item in rows.items() if item[0].startswith(prefix)]


def _neither(rows: Mapping[str, list[float]], prefixes: tuple[str, ...]) -> list[tuple[str, list[float]]]:
    return [item for item in rows.items() if not item[0].startswith(prefixes)]


def _cells(name: str, values: list[float]) -> list[Text]:
    """Name, latest value, and whether it went up or down since the one before."""
    arrow = "" if len(values) < 2 or values[-1] == values[-2] else "↑" if values[-1] > values[-2] else "↓"
    return [Text(name, style="cyan"), Text(_short(values[-1]), style="bold"), Text(arrow, style="dim")]
