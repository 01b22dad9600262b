"""The console: a live table in a terminal or a notebook; otherwise one plain line per row of metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress import BarColumn, TaskProgressColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gan_lab.storage.metric_names import display_name, distinct_keys
from gan_lab.tracking.base import Row, RunInfo, Tracker
from gan_lab.tracking.notebook_display import NotebookDisplay
from gan_lab.utils.formatting import CI_SUFFIX, format_with_ci, format_with_error
from gan_lab.utils.streams import in_notebook
from gan_lab.utils.terminal import STDOUT, _progress, fold, line_limit, text_column

if TYPE_CHECKING:
    from PIL import Image

    from gan_lab.utils.half_blocks import HalfBlocks

log = logging.getLogger(__name__)

MODES = ("auto", "live", "plain")

POSITION = ("images", "epoch", "seconds")
"""Keys of a row that say when it was logged."""

SECONDS_BETWEEN_LINES = 10
"""Without a live table, the least time between two lines about an activity."""

HEADING_WIDTH = 10
"""Indentation of the second and further lines of a text that doesn't fit into a line."""

LINES_AROUND_TABLE = 6
"""Lines of the live display besides those of the table: its border, the progress bars, and an empty line."""

PANEL_WIDTH = 4
"""Characters of a line of the table's border."""

PREVIEW_FRACTION = 0.35
"""A wider layout of the table must leave this fraction of the terminal's width to the sample grid."""

LINE_METRICS = (
    "d/loss",
    "g/loss",
    "d/accuracy_real",
    "d/accuracy_fake",
    "g/fool_rate",
    "d/overfitting",
    "pretraining/loss",
    "growth/resolution",
    "growth/alpha",
    "time/images_per_second",
    "time/seconds_per_epoch",
)
"""Metrics with a slash that a plain line shows; ``metrics.jsonl`` has all of them."""

NOT_IN_LINE = ("precision", "recall", "density", "copies")
"""Scores whose names begin with these are left out of a plain line; it shows the others."""


class ConsoleHandler(logging.Handler):
    """A log handler that prints on :data:`STDOUT`, above the live table if there is one.

    ``table_shown`` is true while the live table is shown. Records with the attribute ``in_table`` are then not printed. Those
    with the attribute ``separator`` are broken there if they are longer than a line of the terminal.
    """

    table_shown = False

    def emit(self, record: logging.LogRecord) -> None:
        if not (ConsoleHandler.table_shown and getattr(record, "in_table", False)):
            text, separator = self.format(record), getattr(record, "separator", None)
            try:
                STDOUT.print(Text(text if separator is None else fold(text, separator, line_limit(), HEADING_WIDTH)))
            except BrokenPipeError:  # ends the command
                raise
            except OSError:  # printed to a file on a full disk: a training does not end for a line
                pass


class Console(Tracker):
    """Shows progress with the remaining time, and the latest metrics of discriminator and generator.

    Args:
        mode: ``live`` (a table that is updated in place), ``plain`` (a line per row), or ``auto``: ``live`` in a terminal and
            in a notebook.
        preview: whether the newest sample grid is shown too: next to the table in half-block characters if the terminal has at
            least 256 colors, in a notebook below it.

    Raises:
        ValueError: ``mode`` is none of these.
    """

    def __init__(self, mode: str = "auto", preview: bool = False) -> None:
        if mode not in MODES:
            raise ValueError(f"console={mode}: must be one of {', '.join(MODES)}")
        self._screen = STDOUT
        self._live: Live | NotebookDisplay | None = None
        if mode != "plain" and in_notebook():
            self._live = NotebookDisplay()
            self._screen = self._live.console
        elif mode == "live" or (mode == "auto" and STDOUT.is_terminal):
            self._live = Live(console=STDOUT, refresh_per_second=4)
        self._preview = preview
        self._grid: Image.Image | None = None  # one pixel for each pixel of its images

    def start(self, info: RunInfo) -> None:
        self._info = info
        self._recent: dict[str, list[float]] = {}  # the last two values of each metric
        self._distinct: set[str] = set()  # the metrics that do not repeat their network's loss
        for heading, text in info.facts.items():
            log.info("%-9s %s", heading, text, extra={"separator": " "})
        if info.first_image:
            epoch = info.first_image / info.images_per_epoch
            log.info("%-9s at %s images, epoch %.2f", "resumed", f"{info.first_image:,}", epoch)
        note = text_column("{task.fields[note]}")
        self._bars = _progress(BarColumn(bar_width=None), TaskProgressColumn(), note, TimeElapsedColumn(), text_column("eta"))
        self._run = self._bars.add_task("run", total=info.total_images, completed=info.first_image, note="")
        self._epoch = self._bars.add_task("epoch", total=info.images_per_epoch, note="")
        self._activity = self._bars.add_task("", total=None, note="", visible=False)
        self._last_line = time.monotonic()
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
        self._bars.update(self._run, completed=images, note=f"{images:,} images")
        self._refresh()

    def activity(self, what: str, done: int, total: int) -> None:
        """Show a progress bar until ``done`` reaches ``total``; without a live table, log a line every ten seconds."""
        note = f"{done:,} of {total:,} images"
        self._bars.update(self._activity, description=what, completed=done, total=total, note=note, visible=done < total)
        self._refresh()
        if self._live is None and done < total and time.monotonic() > self._last_line + SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            log.info("%s: %s", what, note)

    def _refresh(self) -> None:
        """Show the bars' new state in a notebook; a terminal's live table has a thread that does it."""
        if isinstance(self._live, NotebookDisplay):
            self._live.refresh()

    def metrics(self, row: Row) -> None:
        self._last_line = time.monotonic()
        log.info(plain_line(row), extra={"in_table": True, "separator": "  "})
        self._distinct |= distinct_keys([row])
        for key, value in row.items():
            if key not in POSITION:
                self._recent[key] = [*self._recent.get(key, [])[-1:], value]
        if self._live is not None:
            self._live.update(self._render())

    def image_grid(self, name: str, path: Path, images: int) -> None:
        if name != "samples" or not self._preview or self._live is None:
            return
        if isinstance(self._live, NotebookDisplay):
            self._live.update(self._render())  # the table comes first
            self._live.show_picture(path)
            return
        from gan_lab.utils.half_blocks import can_show_blocks  # with Pillow and PyTorch, which the commands' help does not need
        from gan_lab.utils.image_ops import open_grid

        if can_show_blocks(self._screen):
            with suppress(OSError):  # a damaged file: the one before stays
                self._grid = open_grid(path).reduce(self._info.config["sample"]["scale"])
            self._live.update(self._render())

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._live is not None:
            self._live.stop()
            ConsoleHandler.table_shown = False

    def _render(self) -> RenderableType:
        """A table with a column for the discriminator, the generator and everything else, above the progress bars.

        In a narrow terminal some of the three are below each other.
        """
        groups: list[list[list[Text]]] = [[], [], []]
        for key in self._recent:
            if not key.endswith(CI_SUFFIX) and (key in self._distinct):
                groups[{"d": 0, "g": 1}.get(key.partition("/")[0], 2)].append(self._cells(key))
        d, g, others = groups
        layouts = ([d, g, others], [d + g, others], [d + g + others])
        tables = [_table(columns, self._screen.height - LINES_AROUND_TABLE) for columns in layouts]
        options = self._screen.options.update(max_width=10_000)
        widths = [Measurement.get(self._screen, options, table).maximum + PANEL_WIDTH for table in tables]
        fitting = [n for n, width in enumerate(widths) if width <= self._screen.width] or [len(tables) - 1]
        panels = [Panel(table, title=Text(self._info.name), title_align="left", border_style="dim") for table in tables]
        for n in fitting if self._grid is not None else ():
            room = self._screen.width - widths[n] - 1
            if room < self._screen.width * PREVIEW_FRACTION and n != fitting[-1]:
                continue  # a narrower table leaves more
            if (blocks := self._blocks(room)) is not None:
                beside = Table.grid(padding=(0, 1, 0, 0))
                beside.add_column(width=self._screen.width - blocks.width - 1)
                beside.add_column(width=blocks.width)
                beside.add_row(panels[n], blocks)
                return Group(beside, self._bars)
        return Group(panels[fitting[0]], self._bars)

    def _blocks(self, width: int) -> HalfBlocks | None:
        """The newest sample grid, at most ``width`` characters wide and as high as the table may be."""
        assert self._grid is not None
        from gan_lab.utils.half_blocks import HalfBlocks, fit_grid
        from gan_lab.utils.image_ops import GAP

        height = 2 * (self._screen.height - LINES_AROUND_TABLE)
        config = self._info.config
        size = max(self._grid.size) if config["degradation"]["steps"] else config["dataset"]["size"]
        picture = fit_grid(self._grid, size, GAP, width, height) if width > 0 and height > 0 else None
        return None if picture is None else HalfBlocks(picture)

    def _cells(self, key: str) -> list[Text]:
        """Name, latest value, and an arrow if it is higher or lower than the one before."""
        *earlier, value = self._recent[key]
        arrow = "" if not earlier or value == earlier[0] else "↑" if value > earlier[0] else "↓"
        error = self._recent.get(f"{key}{CI_SUFFIX}")
        text = format_with_error(value, error[-1] if error else None)
        return [Text(display_name(key), style="cyan"), Text(text, style="bold"), Text(arrow, style="dim")]


def _table(columns: Sequence[list[list[Text]]], height: int) -> Table:
    """A table of metrics, each of which has three cells; at most ``height`` lines."""
    table = Table.grid(padding=(0, 2))
    for _ in columns:
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(width=1)
    lines = list(zip_longest(*columns, fillvalue=[Text(), Text(), Text()]))
    shown = lines if len(lines) <= height else lines[: max(1, height - 1)]
    for line in shown:
        table.add_row(*(cell for cells in line for cell in cells))
    if len(shown) < len(lines):
        table.add_row(Text("more in metrics.jsonl", style="dim"))
    return table


def plain_line(row: Row) -> str:
    """A row as one line of text: ``epoch 2.50  25,000 images  D loss 0.693  ...``."""
    metrics = "  ".join(f"{display_name(key)} {format_with_ci(row, key)}" for key in row if _is_in_line(key))
    return f"epoch {row['epoch']:.2f}  {row['images']:,} images  {metrics}"


def _is_in_line(key: str) -> bool:
    if "/" in key or key in POSITION:
        return key in LINE_METRICS
    return not (key.endswith(CI_SUFFIX) or key.partition("_")[0] in NOT_IN_LINE)
