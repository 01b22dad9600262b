"""The sample grids as an animation."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from gan_lab.storage.files import atomic_file

LONGEST = 120
"""Frames at most; of a longer run every n-th grid is taken, the first and the last always."""


def write_animation(previews: list[Path], path: Path, milliseconds: int = 250) -> None:
    """Write the grids, oldest first, as an animated WebP; the last one stays for two seconds.

    A grid that can't be read, or has another size than the last, is left out.
    """
    every = max(1, -(-len(previews) // LONGEST))
    chosen = previews[::-1][::every][::-1]
    frames = [f for f in map(_open, previews[:1] * (chosen[:1] != previews[:1]) + chosen) if f is not None]
    frames = [frame for frame in frames if frame.size == frames[-1].size]
    if len(frames) < 2:
        return
    durations = [milliseconds] * (len(frames) - 1) + [2000]
    with atomic_file(path) as handle:
        frames[0].save(handle, format="WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=80)


def _open(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except OSError:
        return None
