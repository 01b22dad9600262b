"""Pictures in a terminal: as pixels where it has a protocol for them, else in half-block characters."""

from __future__ import annotations

import base64
import io
import math
import os
import struct
from collections.abc import Callable, Mapping

from PIL import Image

from gan_lab.utils.half_blocks import HalfBlocks, can_show_blocks, fit_grid
from gan_lab.utils.image_ops import GAP
from gan_lab.utils.terminal import STDOUT

try:
    import fcntl
    import termios
except ImportError:  # Windows: the width of a character in pixels is not known
    fcntl = None  # type: ignore[assignment]

MAX_SIDE = 2048
"""Longest side, in pixels, of a picture that is sent to a terminal; a larger one is reduced by a whole factor."""

CHARACTER_WIDTH = 8
"""Pixels, where the terminal does not say."""

KITTY_CHUNK = 4096
"""Largest number of base64 characters in one of kitty's escape sequences."""


def kitty(png: bytes, columns: int) -> str:
    """The escape sequences that show a PNG file ``columns`` characters wide by kitty's graphics protocol.

    https://sw.kovidgoyal.net/kitty/graphics-protocol: ``a=T`` sends and shows, ``f=100`` is PNG, ``m=1`` announces a further
    part, and ``q=2`` asks for no answer, which would be taken for typed text.
    """
    text = base64.standard_b64encode(png).decode()
    parts = [text[start : start + KITTY_CHUNK] for start in range(0, len(text), KITTY_CHUNK)]
    keys = [f"a=T,f=100,q=2,c={columns},", *[""] * (len(parts) - 1)]
    return "".join(
        f"\x1b_G{key}m={int(number < len(parts))};{part}\x1b\\"
        for number, (key, part) in enumerate(zip(keys, parts, strict=True), 1)
    )


def iterm2(png: bytes, columns: int) -> str:
    """The escape sequence that shows a PNG file ``columns`` characters wide by iTerm2's protocol for inline images.

    https://iterm2.com/documentation-images.html
    """
    text = base64.standard_b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns}:{text}\a"


Protocol = Callable[[bytes, int], str]


def picture_protocol(environment: Mapping[str, str]) -> Protocol | None:
    """The protocol for pictures of the terminal that set these environment variables; None if it is not known to have one.

    Inside tmux and screen there is none, as they pass no pictures on; the variables of the terminal around them may be set.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("screen", "tmux")):
        return None
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty" or ("KITTY_WINDOW_ID" in environment and not program):
        return kitty
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return iterm2
    return None


def show_grid(grid: Image.Image, size: int, scale: int, blocks: bool) -> None:
    """Show a grid of images on standard output, if that is a terminal which can show it.

    Args:
        grid: as :func:`gan_lab.utils.image_ops.image_grid` makes it.
        size: side of its images in pixels, without ``scale``.
        scale: of the grid.
        blocks: whether a terminal without a protocol for pictures shows half-block characters.
    """
    if not STDOUT.file.isatty():
        return
    if (protocol := picture_protocol(os.environ)) is not None:
        factor = math.ceil(max(grid.size) / MAX_SIDE)
        picture, file = grid.reduce(factor) if factor > 1 else grid, io.BytesIO()
        picture.save(file, "PNG")
        columns = min(STDOUT.width, math.ceil(picture.width / _character_width()))
        STDOUT.file.write(f"{protocol(file.getvalue(), columns)}\n")
    elif blocks and can_show_blocks(STDOUT):
        part = fit_grid(grid.reduce(scale), size, GAP, STDOUT.width, 2 * (STDOUT.height - 2))
        if part is not None:
            STDOUT.print(HalfBlocks(part), end="")
    STDOUT.file.flush()


def _character_width() -> float:
    """Width of a character of the terminal in pixels."""
    if fcntl is not None:
        try:
            _, columns, width, _ = struct.unpack("HHHH", fcntl.ioctl(STDOUT.file.fileno(), termios.TIOCGWINSZ, bytes(8)))
        except OSError:
            columns = width = 0
        if columns and width:
            return float(width / columns)
    return CHARACTER_WIDTH
