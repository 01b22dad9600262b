"""Images in a terminal that shows only characters: each is two pixels, one above the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from PIL import Image
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

UPPER_HALF = "▀"
"""Its upper half has the foreground color, its lower half the background color."""

MIN_SIDE = 14
"""An image of a grid is not reduced to fewer pixels than this; rather fewer images are shown."""


def can_show_blocks(console: Console) -> bool:
    """Whether a console is a terminal with at least 256 colors that can show :data:`UPPER_HALF`."""
    return console.is_terminal and console.color_system in ("256", "truecolor") and console.encoding.startswith("utf")


class HalfBlocks:
    """A picture that rich prints in half-block characters.

    Args:
        image: of mode L or RGB; a character is one pixel wide and two high.

    Attributes:
        width, height: in characters.
    """

    def __init__(self, image: Image.Image) -> None:
        self.width, self.height = image.width, math.ceil(image.height / 2)
        pixels = image.convert("RGB").tobytes()
        step = 3 * image.width
        rows = [pixels[start : start + step] for start in range(0, len(pixels), step)]
        pairs = [(rows[n], rows[n + 1] if n + 1 < len(rows) else None) for n in range(0, len(rows), 2)]
        self._lines = [list(_segments(upper, lower)) for upper, lower in pairs]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines:
            yield from line
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, self.width)


def _segments(upper: bytes, lower: bytes | None) -> Iterator[Segment]:
    """The characters of two rows of RGB pixels, equal neighbors joined; without a second row the background stays as it is."""
    places = range(0, len(upper), 3)
    colors = ((upper[n : n + 3], None if lower is None else lower[n : n + 3]) for n in places)
    for (above, below), group in groupby(colors):
        style = Style(color=_color(above), bgcolor=None if below is None else _color(below))
        yield Segment(UPPER_HALF * len(list(group)), style)


def _color(rgb: bytes) -> Color:
    return Color.from_triplet(ColorTriplet(*rgb))


def fit_grid(grid: Image.Image, size: int, gap: int, width: int, height: int) -> Image.Image | None:
    """As many images of a grid, from its top right, as fit into some pixels, reduced by averaging.

    The whole grid is reduced by the smallest whole factor with which it fits, unless its images would have fewer than
    :data:`MIN_SIDE` pixels a side; then some are left out, with the names of rows and columns.

    Args:
        grid: as :func:`gan_lab.utils.image_ops.image_grid` makes it, with ``scale=1``.
        size: side of its images, in pixels.
        gap: pixels between them.
        width, height: pixels that there is room for.

    Returns:
        The picture, or None if not even one image fits.
    """
    largest = max(1, size // MIN_SIDE)
    fitting = (f for f in range(1, largest + 1) if grid.width <= f * width and grid.height <= f * height)
    factor = next(fitting, largest)
    wide, high = (_whole_images(*sides, size, gap) for sides in zip(grid.size, (factor * width, factor * height), strict=True))
    if wide <= 0 or high <= 0:
        return None
    left = grid.width - wide  # on the left there may be names of any width
    top = 0 if high == grid.height else (grid.height + gap) % (size + gap)  # names of columns
    return grid.crop((left, top, grid.width, top + high)).reduce(factor)


def _whole_images(length: int, room: int, size: int, gap: int) -> int:
    """The pixels, along one axis of a grid, of as many images as ``room`` pixels have room for; not positive for none."""
    return length if length <= room else min(length + gap, room + gap) // (size + gap) * (size + gap) - gap
