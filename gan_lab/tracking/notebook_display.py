"""The live table in the output of a notebook's cell."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

SECONDS_BETWEEN_UPDATES = 0.5
"""The least time between two updates."""

WIDTH, HEIGHT = 100, 40
"""Characters in a line, and lines: about what a cell shows without scrolling."""

PAGE = '<pre style="line-height: 1.2; font-family: monospace; overflow-x: auto">{code}</pre>'


class NotebookDisplay:
    """Replaces its output in place, as ``rich.live.Live`` does in a terminal. Without widgets, so a saved notebook shows it.

    Attributes:
        console: renders what is shown.
    """

    def __init__(self) -> None:
        self.console = Console(
            file=io.StringIO(), record=True, width=WIDTH, height=HEIGHT, color_system="truecolor", force_jupyter=False
        )
        self._shown: RenderableType | None = None
        self._handle: Any = None
        self._picture: Any = None
        self._last = 0.0

    def start(self) -> None:
        """Does nothing: there is nothing to show yet."""

    def update(self, renderable: RenderableType) -> None:
        """Show something else."""
        self._shown = renderable
        self._show()

    def refresh(self) -> None:
        """Show what has changed in it, unless it was shown just now; takes microseconds then."""
        if time.monotonic() - self._last > SECONDS_BETWEEN_UPDATES:
            self._show()

    def stop(self) -> None:
        """Show the last state, which stays."""
        self._show()

    def show_picture(self, path: Path) -> None:
        """Show a PNG file below the table, in place of the one before."""
        from IPython.display import Image, display

        picture = Image(data=path.read_bytes(), format="png")
        if self._picture is None:
            self._picture = display(picture, display_id=True)
        else:
            self._picture.update(picture)

    def _show(self) -> None:
        if self._shown is None:
            return
        from IPython.display import HTML, display

        self.console.print(self._shown)
        page = HTML(self.console.export_html(inline_styles=True, code_format=PAGE))
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)
        self._last = time.monotonic()
