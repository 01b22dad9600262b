"""Reads pictures back from what a terminal receives."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

Color = tuple[int, ...] | None


def from_blocks(text: str) -> np.ndarray:
    """The pixels of consecutive lines that hold half-block characters in 24-bit colors, uint8 ``[H, W, 3]``.

    What else the lines hold is passed over. A lower half without a color of its own is no pixel.
    """
    rows = [pixels for line in text.splitlines() if (pixels := _of_line(line))]
    uppers = [[upper for upper, _ in row] for row in rows]
    lowers = [[lower for _, lower in row] for row in rows]
    lines = [line for pair in zip(uppers, lowers, strict=True) for line in pair if None not in line]
    return np.array(lines, dtype=np.uint8)


def _of_line(line: str) -> list[tuple[Color, Color]]:
    colors: dict[int, Color] = {38: None, 48: None}
    pixels = []
    for codes, character in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
        if character == "▀":
            pixels.append((colors[38], colors[48]))
        numbers = [int(code) for code in codes.split(";") if code]
        if not character and numbers in ([], [0]):
            colors = {38: None, 48: None}
        for place, kind in (re.findall(r"(\d+);2;(\d+;\d+;\d+)", codes)) if codes else ():
            colors[int(place)] = tuple(map(int, kind.split(";")))
    return [pixel for pixel in pixels if pixel[0] is not None]


def from_kitty(text: str) -> tuple[Image.Image, dict[str, str]]:
    """The picture that kitty's graphics protocol transmits, and the keys of its first escape sequence."""
    parts = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", text)
    keys = [dict(key.split("=") for key in head.split(",")) for head, _ in parts]
    assert [key["m"] for key in keys] == ["1"] * (len(parts) - 1) + ["0"], "all but the last announce a further part"
    assert all(len(part) <= 4096 for _, part in parts) and all(len(part) % 4 == 0 for _, part in parts[:-1])
    return Image.open(io.BytesIO(base64.standard_b64decode("".join(part for _, part in parts)))), keys[0]


def from_iterm2(text: str) -> tuple[Image.Image, dict[str, str]]:
    """The picture that iTerm2's protocol transmits, and its arguments."""
    found = re.search(r"\x1b\]1337;File=([^:]*):([A-Za-z0-9+/=]*)\a", text)
    assert found is not None
    content = base64.standard_b64decode(found[2])
    keys = dict(argument.split("=") for argument in found[1].split(";"))
    assert int(keys["size"]) == len(content)
    return Image.open(io.BytesIO(content)), keys
