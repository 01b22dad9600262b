"""Writes images as a film: MP4, WebP or GIF."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from PIL import Image

from gan_lab.storage.files import atomic_file


def write_video(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    """Write a film, which appears when it is complete.

    Args:
        frames: images of the same size and mode, L or RGB.
        path: ends in one of :data:`FORMATS`.
        fps: frames per second; GIFs round a frame's duration to 10 ms.

    Raises:
        ValueError: another ending, an ``fps`` that is not positive, or a missing package.
        OSError: the file can't be written.
    """
    check_video(path, fps)
    FORMATS[path.suffix.lower()](frames, path, fps)


def check_video(path: Path, fps: float) -> None:
    """Raise ValueError unless a film can be written to ``path``."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"out={path}: a walk is written to a file that ends in {', '.join(FORMATS)}")
    if not 0 < fps <= 1000:
        raise ValueError(f"fps={fps}: must be positive, and at most 1000")
    if path.suffix.lower() == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f"out={path}: MP4 needs the package imageio-ffmpeg: pip install 'gan_lab[video]'; WebP and GIF need none"
            ) from error


def _write_mp4(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    """H.264 with 4:2:0 chroma, which every browser plays; it needs even sides, so an odd one gets a black pixel."""
    import imageio_ffmpeg

    first = next(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.width}x{first.height}", "-r", str(fps), "-i", "-"]
    command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18"]
    command += ["-movflags", "+faststart", str(unfinished.absolute())]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as ffmpeg:
            assert ffmpeg.stdin is not None
            with suppress(BrokenPipeError):  # the program has ended early; its message says why
                for frame in chain([first], frames):
                    ffmpeg.stdin.write(frame.convert("RGB").tobytes())
            _, message = ffmpeg.communicate()
        if ffmpeg.returncode != 0:
            raise OSError(f"{path} can't be written: {message.decode(errors='replace').strip()}")
        unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _write_animation(**options: object) -> Callable[[Iterator[Image.Image], Path, float], None]:
    def write(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
        with atomic_file(path) as handle:
            # Pillow takes an iterator, but keeps no more than it needs
            next(frames).save(
                handle,
                save_all=True,
                append_images=frames,
                duration=1000 / fps,
                loop=0,
                **options,  # type: ignore[arg-type]
            )

    return write


FORMATS: dict[str, Callable[[Iterator[Image.Image], Path, float], None]] = {
    ".webp": _write_animation(format="WEBP", quality=85, method=3),
    ".mp4": _write_mp4,
    ".gif": _write_animation(format="GIF", optimize=False),
}
"""Functions ``(frames, path, fps)`` by ending."""
