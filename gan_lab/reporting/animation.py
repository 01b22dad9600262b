"""The sample grids of a run as an animated WebP."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from gan_lab.storage.files import atomic_file

MAX_FRAMES = 120
"""Upper bound of the number of frames; of more grids every n-th is used, and always the first and the last."""


def write_animation(grids: list[Path], path: Path, milliseconds: int = 250) -> None:
    """Write an animated WebP; nothing is written for fewer than two frames.

    Args:
        grids: image files, oldest first. Those that can't be read, or whose size differs from the last one's, are skipped.
        path: of the WebP file.
        milliseconds: duration of a frame; the last one lasts two seconds.
    """
    interval = max(1, -(-len(grids) // MAX_FRAMES))
    chosen = grids[::-1][::interval][::-1]
    if chosen[:1] != grids[:1]:
        chosen = [grids[0], *chosen]
    frames = [frame for frame in map(_open, chosen) if frame is not None]
    frames = [frame for frame in frames if frame.size == frames[-1].size]
    if len(frames) < 2:
        return
    durations = [milliseconds] * (len(frames) - 1) + [2000]
    with atomic_file(path) as handle:
        frames[0].save(handle, format="WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=80)


def _open(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError:
        return None
