"""The sample grids as an animation."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from gan_lab.directory import write_atomically

LONGEST = 120
"""Frames at most; of a longer run every n-th grid is taken, the first and the last always."""


def film(previews: list[Path], path: Path, milliseconds: int = 250) -> None:
    """Write the grids, oldest first, as an animated WebP; the last one stays for two seconds."""
    if len(previews) < 2:
        return
    every = -(-len(previews) // LONGEST)
    chosen = previews[::-1][::every][::-1]
    frames = [_open(preview) for preview in ([previews[0]] if chosen[0] != previews[0] else []) + chosen]
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [2000]
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=80)
    write_atomically(path, buffer.getvalue())


def _open(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")
