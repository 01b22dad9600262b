"""The sample grids of a run as an animated WebP."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from gan_lab.storage.files import atomic_file
from gan_lab.utils.image_ops import open_grid

MAX_FRAMES = 120
"""Upper bound of the number of frames; of more grids every n-th is used, and always the first and the last."""

MAX_PIXELS = 2**31
"""Upper bound of the pixels that are read for an animation, which takes about ten seconds; large grids give fewer frames."""


def write_animation(grids: list[Path], path: Path, milliseconds: int = 250) -> None:
    """Write an animated WebP; nothing is written for fewer than two frames, and grids of a billion pixels give none.

    Args:
        grids: PNG files, oldest first. Those that can't be read, or whose size differs from the last one's, are skipped. Frames
            of large grids are smaller, see :func:`open_grid`.
        path: of the WebP file.
        milliseconds: duration of a frame; the last one lasts two seconds.
    """
    frames = [frame for frame in map(_open, choose_frames(grids)) if frame is not None]
    frames = [frame for frame in frames if frame.size == frames[-1].size]
    if len(frames) < 2:
        return
    durations = [milliseconds] * (len(frames) - 1) + [2000]
    with atomic_file(path) as handle:
        frames[0].save(handle, format="WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=80)


def choose_frames(grids: list[Path]) -> list[Path]:
    """Every n-th grid, with the first and the last; none if two are more than :data:`MAX_PIXELS`."""
    most = min(MAX_FRAMES, MAX_PIXELS // max(1, _pixels(grids[-1]))) if grids else 0
    if most < 2:
        return []
    interval = max(1, -(-len(grids) // most))
    chosen = grids[::-1][::interval][::-1]
    return chosen if chosen[:1] == grids[:1] else [grids[0], *chosen]


def _pixels(path: Path) -> int:
    """The number of pixels of a PNG file; 0 if it can't be read."""
    try:
        with PngImageFile(path) as image:
            return image.width * image.height
    except (OSError, SyntaxError, ValueError):
        return 0


def _open(path: Path) -> Image.Image | None:
    try:
        return open_grid(path)
    except OSError:
        return None
