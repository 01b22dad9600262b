"""The sample grids of runs as the frames of a page's slider, small enough to be part of the page."""

from __future__ import annotations

import base64
import io
import os
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from gan_lab.reporting.charts import Rows
from gan_lab.storage.metric_names import display_name
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import format_count
from gan_lab.utils.image_ops import open_grid

MAX_FRAMES = 48
"""Upper bound of the number of frames of a page with one run."""

MAX_BYTES = 3_000_000
"""Upper bound of the size of all frames of a page. Of larger ones every second is left out, again and again."""

MAX_SIDE = 768
"""Longest side of a frame, in pixels; larger grids are reduced."""


@dataclass(frozen=True)
class Frame:
    """A sample grid on a page.

    Attributes:
        images: that the generator had been trained on.
        caption: the same in words, and the resolution of a growing network.
        image: a data URI.
        link: the grid's file, relative to the page.
    """

    images: int
    caption: str
    image: str
    link: str


@dataclass(frozen=True)
class Film:
    """The frames of one run, oldest first; ``link`` leads from ``title`` to the run's own page, or is empty."""

    title: str
    link: str
    frames: list[Frame]


def read_frames(directory: RunDirectory, rows: Rows, page: Path, share: float = 1.0) -> list[Frame]:
    """The frames of a run: the first, the last, and between them as many as fit, evenly spaced.

    Args:
        directory: of the run.
        rows: its metrics.
        page: the folder of the page.
        share: fraction of the page's bounds that this run may use.
    """
    grids = directory.sample_grids()
    most = max(2, round(MAX_FRAMES * share))
    while True:
        chosen = _spread(grids, most)
        encoded = {path: data for path in chosen if (data := _encode(path, path.stat().st_mtime_ns))}
        if most <= 2 or sum(map(len, encoded.values())) <= MAX_BYTES * share:
            break
        most = max(2, len(chosen) // 2)
    growth = [row for row in rows if None not in (row.get("growth/resolution"), row.get("growth/alpha"))]
    frames = ((_images(path), data, path) for path, data in encoded.items())
    return [Frame(images, caption(images, growth), data, relative_link(path, page)) for images, data, path in frames]


def _spread(grids: Sequence[Path], most: int) -> list[Path]:
    count = min(len(grids), most)
    return [grids[round(n * (len(grids) - 1) / max(1, count - 1))] for n in range(count)]


@lru_cache(maxsize=256)
def _encode(path: Path, changed: int) -> str:
    """A grid as a data URI, which the pages of a run in progress need again and again; empty if it can't be read."""
    try:
        grid = open_grid(path, MAX_SIDE)
    except OSError:
        return ""
    buffer = io.BytesIO()
    grid.save(buffer, format="WEBP", quality=85, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _images(path: Path) -> int:
    return int(re.findall(r"\d+", path.stem)[-1])


def caption(images: int, growth: Rows) -> str:
    """Images seen, and for a growing network its resolution and the weight of its newest layers.

    Args:
        images: that the generator had been trained on.
        growth: the rows of its metrics that have a resolution.
    """
    at = bisect_left(growth, images, key=lambda row: int(row["images"]))
    resolution = fade_in = ""
    if at < len(growth):
        size, alpha = growth[at]["growth/resolution"], growth[at]["growth/alpha"]
        resolution = f", {size:g}x{size:g}"
        fade_in = "" if alpha == 1 else f", {display_name('growth/alpha')} {alpha:.2f}"
    return ("untrained" if images == 0 else format_count(images, "image")) + resolution + fade_in


def relative_link(path: Path, folder: Path) -> str:
    """The link from a page in ``folder`` to a file, quoted for a browser."""
    return quote(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())
