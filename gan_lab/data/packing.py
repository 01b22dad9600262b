"""Decode a dataset once, in parallel, into a packed file."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gan_lab.data.packed_file import PackedDataset, write_tail
from gan_lab.data.parallel_decoding import DecodedChunk, ImageFormat, decode_in_parallel
from gan_lab.data.raw_images import RawImages
from gan_lab.runtime.signals import exit_on_termination
from gan_lab.storage.files import file_lock, write_atomically
from gan_lab.storage.json_records import parse_json
from gan_lab.utils.progress import Progress
from gan_lab.version import __version__

log = logging.getLogger(__name__)


NO_ROOM_OR_PERMISSION = {
    getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST")
}
"""Error numbers that mean another directory is needed; not every system defines all of them."""


@dataclass(frozen=True)
class PackingProgress:
    """State of an interrupted packing, from which the next attempt continues.

    Attributes:
        next_index: index of the next image to decode.
        unreadable: reasons why images could not be read, by image index.
        crc: CRC-32 of the pixels written so far.
        written: bytes of pixels written so far.
        sizes: height and width of each written image, if sizes differ.
        enlarged: number of images that were smaller than the packed size.
    """

    next_index: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    crc: int = 0
    written: int = 0
    sizes: list[list[int]] = field(default_factory=list)
    enlarged: int = 0

    @property
    def num_readable(self) -> int:
        return self.next_index - len(self.unreadable)

    @classmethod
    def read(cls, path: Path, request: str) -> PackingProgress:
        """The progress that an earlier attempt at the same ``request`` saved; the start if there is none or it is damaged."""
        try:
            stored = parse_json(path.read_text(encoding="utf-8"))
            if stored["same"] == request:
                unreadable = {int(index): reason for index, reason in stored["bad"].items()}
                counts = (stored[key] for key in ("crc", "written", "sizes", "enlarged"))
                return cls(stored["following"], unreadable, *counts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return cls()

    def write(self, path: Path, request: str) -> None:
        """Save the progress, with the JSON text ``request`` that describes what is packed."""
        state = {"following": self.next_index, "bad": self.unreadable, "crc": self.crc, "written": self.written}
        write_atomically(path, json.dumps({"same": request, **state, "sizes": self.sizes, "enlarged": self.enlarged}))

    def after(self, chunk: DecodedChunk) -> PackingProgress:
        """The progress after another chunk of images has been written."""
        pixels = chunk.pixels
        if pixels.ndim == 3:
            self.sizes.append(list(pixels.shape[:2]))
        return PackingProgress(
            chunk.next_index,
            self.unreadable | chunk.unreadable,
            zlib.crc32(pixels.data, self.crc),
            self.written + pixels.nbytes,
            self.sizes,
            self.enlarged + chunk.enlarged,
        )


def pack_dataset(
    path: Path,
    list_images: Callable[[], RawImages],
    image_format: ImageFormat,
    identity: dict[str, Any],
    *,
    is_current: Callable[[PackedDataset], bool],
    max_corrupt_fraction: float,
    num_workers: int,
    progress: Progress,
) -> PackedDataset:
    """Open the packed file at ``path``; create it first if it is missing or outdated.

    If another process is packing the same dataset, this one waits for it. Packing that is interrupted or stopped by unreadable
    images leaves its pixels in a ``.part`` file, from which the next attempt continues; other failures leave no files.

    Args:
        path: the packed file.
        list_images: returns the stored images; called only if they have to be packed.
        image_format: format of the packed pixels.
        identity: metadata for the manifest, see :meth:`gan_lab.data.datasets.DatasetBuilder.identity`.
        is_current: whether an existing packed file is up to date.
        max_corrupt_fraction: largest fraction of unreadable images that are skipped.
        num_workers: processes or threads that decode.
        progress: called with the numbers of decoded and of all images.

    Raises:
        ValueError: there are too many unreadable images, or the file can't be written.
    """
    if (packed := _open_if_current(path, is_current)) is not None:
        return packed
    lock = path.with_name(f".{path.stem}.lock")
    with _explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with file_lock(lock, "another process is preparing the same dataset; waiting for it"), exit_on_termination():
        if (packed := _open_if_current(path, is_current)) is not None:
            return packed  # created by the process that held the lock
        raw_images = list_images()
        raw_images.check_labels()
        watched = raw_images.watched()  # before decoding, so that changes made during decoding are noticed later
        metadata = {"identity": identity, "watched": watched}
        _pack(path, raw_images, image_format, metadata, max_corrupt_fraction, num_workers, progress)
    return PackedDataset.open(path)


@contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    """Turn errors about space or permissions into a ValueError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM_OR_PERMISSION:
            raise ValueError(
                f"can't write {path} ({error.strerror}); set paths.data to a directory with free space and write permission"
            ) from error
        raise


def _open_if_current(path: Path, is_current: Callable[[PackedDataset], bool]) -> PackedDataset | None:
    if not path.is_file():
        return None
    packed = PackedDataset.open(path)
    return packed if is_current(packed) else None


def _pack(
    path: Path,
    raw_images: RawImages,
    image_format: ImageFormat,
    metadata: dict[str, Any],
    max_corrupt_fraction: float,
    num_workers: int,
    progress: Progress,
) -> None:
    part, journal = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    request = json.dumps([len(raw_images), metadata, image_format.identity()], sort_keys=True)
    state = PackingProgress.read(journal, request) if part.exists() else PackingProgress()
    if state.next_index and part.stat().st_size < state.written:
        state = PackingProgress()  # the system crashed before all pixels reached the disk
    if any(_is_readable(raw_images, image_format, index) for index in state.unreadable):
        state = PackingProgress()  # unreadable images have been repaired
    last_saved = time.monotonic()
    try:
        with _explain_write_errors(path), part.open("r+b" if state.next_index else "wb") as handle:
            handle.truncate(state.written)
            handle.seek(0, 2)
            for written in _write_images(handle, raw_images, image_format, state, max_corrupt_fraction, num_workers):
                state = written
                progress(state.next_index, len(raw_images))
                if time.monotonic() > last_saved + 2:
                    last_saved = time.monotonic()
                    handle.flush()
                    state.write(journal, request)
            _warn_of_unreadable(state, raw_images)
            if state.enlarged:
                log.warning("%s", describe_enlarged(state.enlarged, state.num_readable, image_format.size))
            _finish(handle, raw_images, image_format, state, metadata)
            part.replace(path)
    except (KeyboardInterrupt, SystemExit, UnreadableImage, BrokenExecutor) as stop:
        if state.next_index == 0:
            part.unlink(missing_ok=True)
        elif part.exists():
            state.write(journal, request)
            log.info(
                "%s of %s images are packed; run the same command again to continue",
                f"{state.next_index:,}",
                f"{len(raw_images):,}",
            )
        if isinstance(stop, BrokenExecutor):
            raise ValueError(
                "a decoding process was killed, possibly because memory ran out; try a smaller dataset.num_workers"
            ) from stop
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        raise
    journal.unlink(missing_ok=True)


def _is_readable(raw_images: RawImages, image_format: ImageFormat, index: int) -> bool:
    try:
        image_format.decode(raw_images, index)
    except Exception:  # decoders raise many types for damaged files
        return False
    return True


class UnreadableImage(ValueError):
    """More images are unreadable than ``dataset.max_corrupt_fraction`` allows."""


def _write_images(
    handle: BinaryIO,
    raw_images: RawImages,
    image_format: ImageFormat,
    state: PackingProgress,
    max_corrupt_fraction: float,
    num_workers: int,
) -> Iterator[PackingProgress]:
    """Decode and write the remaining images in order, and yield the progress after each chunk."""
    for chunk in decode_in_parallel(raw_images, image_format, state.next_index, num_workers):
        handle.write(chunk.pixels.data)
        state = state.after(chunk)
        if len(state.unreadable) > max_corrupt_fraction * len(raw_images):
            fraction = len(state.unreadable) / len(raw_images) + 0.005
            more = f", or allow more with dataset.max_corrupt_fraction={fraction:.2f}" if fraction < 1 else ""
            raise UnreadableImage(f"{_describe_unreadable(state, raw_images)}. Repair or remove them{more}")
        yield state


def _describe_unreadable(state: PackingProgress, raw_images: RawImages) -> str:
    listed = "; ".join(f"{raw_images.name(index)} ({reason})" for index, reason in list(state.unreadable.items())[:5])
    more = " ..." if len(state.unreadable) > 5 else ""
    return f"{len(state.unreadable)} of the first {state.next_index} of {len(raw_images)} images can't be read: {listed}{more}"


def _warn_of_unreadable(state: PackingProgress, raw_images: RawImages) -> None:
    if state.num_readable == 0:
        raise ValueError(f"{_describe_unreadable(state, raw_images)}; no image is left")
    if state.unreadable:
        log.warning("%s; they are skipped", _describe_unreadable(state, raw_images))


def describe_enlarged(enlarged: int, count: int, size: int) -> str:
    """One line about images that were smaller than ``dataset.size``, and what to do."""
    return (
        f"{enlarged:,} of {count:,} images have a side below dataset.size={size} and are enlarged, which adds no detail; "
        "choose a smaller dataset.size, remove them, or keep their size with dataset.resize_mode=pad"
    )


def _finish(
    handle: BinaryIO, raw_images: RawImages, image_format: ImageFormat, state: PackingProgress, metadata: dict[str, Any]
) -> None:
    kept = np.delete(np.arange(len(raw_images)), sorted(state.unreadable))
    manifest = {
        **metadata,
        "count": len(kept),
        **image_format.identity(),
        "classes": list(raw_images.classes),
        "enlarged": state.enlarged,
        "crc32": state.crc,
        "bad": {raw_images.name(index): reason for index, reason in state.unreadable.items()},
        "tool": f"gan_lab {__version__}",
    }
    sizes = np.array(state.sizes, dtype=np.int32).reshape(-1, 2) if image_format.is_whole else None
    write_tail(handle, None if raw_images.labels is None else raw_images.labels[kept], sizes, manifest)
    handle.flush()
    os.fsync(handle.fileno())
