"""Preparing a data set: decode once, in parallel, into one packed file."""

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
from gan_lab.data.parallel_decoding import ImageFormat, decode_in_parallel
from gan_lab.data.raw_images import RawImages
from gan_lab.runtime.signals import exit_on_sigterm
from gan_lab.storage.files import file_lock, write_atomically
from gan_lab.utils.progress import Progress
from gan_lab.version import __version__

log = logging.getLogger(__name__)


NO_ROOM_OR_PERMISSION = {
    getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST")
}
"""Error numbers that another folder helps against; not every system has all of them."""


@dataclass(frozen=True)
class PackingProgress:
    """How far an interrupted preparation came, so that the next one goes on there.

    Attributes:
        following: number of the next picture.
        bad: pictures that could not be read, by number, and why.
        crc: checksum of the pixels written so far.
        written: bytes of them.
        sizes: height and width of each written picture, where each has its own.
    """

    following: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    crc: int = 0
    written: int = 0
    sizes: list[list[int]] = field(default_factory=list)

    @property
    def kept(self) -> int:
        return self.following - len(self.bad)

    @classmethod
    def read(cls, path: Path, same: str) -> PackingProgress:
        """The journal of an earlier attempt at the very same thing, or an empty one."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["same"] == same:
                bad = {int(n): why for n, why in stored["bad"].items()}
                return cls(stored["following"], bad, stored["crc"], stored["written"], stored["sizes"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none there, or not to be trusted: from the beginning then
        return cls()

    def write(self, path: Path, same: str) -> None:
        write_atomically(path, json.dumps({"same": same, **vars(self)}))

    def after(self, following: int, pixels: np.ndarray, bad: dict[int, str]) -> PackingProgress:
        """When a slice is written, too."""
        if pixels.ndim == 3:
            self.sizes.append(list(pixels.shape[:2]))
        crc = zlib.crc32(pixels.data, self.crc)
        return PackingProgress(following, self.bad | bad, crc, self.written + pixels.nbytes, self.sizes)


def pack_dataset(
    path: Path,
    pictures: Callable[[], RawImages],
    shape: ImageFormat,
    identity: dict[str, Any],
    *,
    is_current: Callable[[PackedDataset], bool],
    max_corrupt_fraction: float,
    num_workers: int,
    progress: Progress,
) -> PackedDataset:
    """The packed file at ``path``, made if it isn't there or no longer current.

    Another process at the same work is waited for. A preparation that is interrupted, or stopped by unreadable pictures,
    leaves its pixels in a ``.part`` file, and the next one goes on from there; any other failure leaves nothing.

    Raises:
        ValueError: too many unreadable pictures, no room, or no permission.
    """
    if (found := _find(path, is_current)) is not None:
        return found
    lock = path.with_name(f".{path.stem}.lock")
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with file_lock(lock, "another process is preparing the same data set; waiting for it"), exit_on_sigterm():
        if (found := _find(path, is_current)) is not None:
            return found  # the process we waited for has made it
        stored = pictures()
        stored.check_labels()
        watched = (
            stored.modification_times()
        )  # as the pictures were listed: what changes while they are decoded is noticed next time
        _pack(path, stored, shape, {"identity": identity, "watched": watched}, max_corrupt_fraction, num_workers, progress)
    return PackedDataset.open(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say which file could not be written, and what helps."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM_OR_PERMISSION:
            raise ValueError(
                f"can't write {path} ({error.strerror}); set paths.data to a folder with room and permission"
            ) from error
        raise


def _find(path: Path, is_current: Callable[[PackedDataset], bool]) -> PackedDataset | None:
    if not path.is_file():
        return None
    packed = PackedDataset.open(path)
    return packed if is_current(packed) else None


def _pack(
    path: Path,
    pictures: RawImages,
    shape: ImageFormat,
    about: dict[str, Any],
    max_corrupt_fraction: float,
    num_workers: int,
    progress: Progress,
) -> None:
    part, notes = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    same = json.dumps([len(pictures), about, shape.identity()], sort_keys=True)
    journal = PackingProgress.read(notes, same) if part.exists() else PackingProgress()
    if journal.following and part.stat().st_size < journal.written:
        journal = PackingProgress()  # the system lost what had been written
    if any(_is_readable(pictures, shape, number) for number in journal.bad):
        journal = PackingProgress()  # somebody has mended them
    noted = time.monotonic()
    try:
        with _told(path), part.open("r+b" if journal.following else "wb") as handle:
            handle.truncate(journal.written)
            handle.seek(0, 2)
            for written in _written(handle, pictures, shape, journal, max_corrupt_fraction, num_workers):
                journal = written
                progress(journal.following, len(pictures))
                if time.monotonic() > noted + 2:
                    noted = time.monotonic()
                    handle.flush()
                    journal.write(notes, same)
            _warn_of_bad(journal, pictures)
            _finish(handle, pictures, shape, journal, about)
            part.replace(path)
    except (KeyboardInterrupt, SystemExit, UnreadableImage, BrokenExecutor) as stop:
        if part.exists():
            journal.write(notes, same)
            log.info(
                "%s of %s images are done; the same command goes on from there", f"{journal.following:,}", f"{len(pictures):,}"
            )
        if isinstance(stop, BrokenExecutor):
            raise ValueError(
                "a process that decodes was killed, perhaps for want of memory; try a smaller dataset.num_workers"
            ) from stop
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        notes.unlink(missing_ok=True)
        raise
    notes.unlink(missing_ok=True)


def _is_readable(pictures: RawImages, shape: ImageFormat, number: int) -> bool:
    try:
        shape.decode(pictures, number)
    except Exception:  # whatever a damaged file makes a decoder raise
        return False
    return True


class UnreadableImage(ValueError):
    """More pictures can't be read than the configuration allows."""


def _written(
    handle: BinaryIO,
    pictures: RawImages,
    shape: ImageFormat,
    journal: PackingProgress,
    max_corrupt_fraction: float,
    num_workers: int,
) -> Iterator[PackingProgress]:
    """Write slice after slice, in order, and yield the journal after each."""
    for following, pixels, bad in decode_in_parallel(pictures, shape, journal.following, num_workers):
        handle.write(pixels.data)
        journal = journal.after(following, pixels, bad)
        if len(journal.bad) > max_corrupt_fraction * len(pictures):
            share = len(journal.bad) / len(pictures) + 0.005
            raise UnreadableImage(
                f"{_tell_bad(journal, pictures)}. Repair or remove them, or allow more: "
                f"dataset.max_corrupt_fraction={share:.2f}"
            )
        yield journal


def _tell_bad(journal: PackingProgress, pictures: RawImages) -> str:
    named = "; ".join(f"{pictures.name(number)} ({why})" for number, why in list(journal.bad.items())[:5])
    more = " ..." if len(journal.bad) > 5 else ""
    return f"{len(journal.bad)} of the first {journal.following} of {len(pictures)} images can't be read: {named}{more}"


def _warn_of_bad(journal: PackingProgress, pictures: RawImages) -> None:
    if journal.kept == 0:
        raise ValueError(f"{_tell_bad(journal, pictures)}; none is left")
    if journal.bad:
        log.warning("%s; they are left out", _tell_bad(journal, pictures))


def _finish(handle: BinaryIO, pictures: RawImages, shape: ImageFormat, journal: PackingProgress, about: dict[str, Any]) -> None:
    kept = np.delete(np.arange(len(pictures)), sorted(journal.bad))
    manifest = {
        **about,
        "count": len(kept),
        **shape.identity(),
        "classes": list(pictures.classes),
        "crc32": journal.crc,
        "bad": {pictures.name(number): why for number, why in journal.bad.items()},
        "tool": f"gan_lab {__version__}",
    }
    sizes = np.array(journal.sizes, dtype=np.int32).reshape(-1, 2) if shape.is_whole else None
    write_tail(handle, None if pictures.labels is None else pictures.labels[kept], sizes, manifest)
    handle.flush()
    os.fsync(handle.fileno())
