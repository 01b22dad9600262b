"""Preparing a data set: decode once, in parallel, into one packed file."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
import sys
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch

import gan_lab
from gan_lab.data.decode import decode
from gan_lab.data.packed import Packed, write_tail
from gan_lab.data.pictures import Pictures

try:
    import fcntl
except ImportError:  # Windows: two processes preparing the same thing would both do the work, and the later one win
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""``(done, total)``, called now and then."""

SLICE = 64
"""Images decoded at a time."""

WORTH_PROCESSES = 1000
"""Pictures from which on processes pay."""


@dataclass(frozen=True)
class Shape:
    """What the pixels of a packed file look like; see :func:`gan_lab.data.decode.decode`."""

    size: int
    channels: int
    fit: str
    precrop: int | None = None

    def decode(self, pictures: Pictures, number: int) -> np.ndarray:
        with pictures.open(number) as picture:
            return decode(picture, self.size, self.channels, self.fit, self.precrop)


@dataclass
class Journal:
    """How far an interrupted preparation came, so that the next one goes on there.

    Attributes:
        following: number of the next picture.
        bad: pictures that could not be read, by number, and why.
        crc: checksum of the pixels written so far.
    """

    following: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    crc: int = 0

    @property
    def kept(self) -> int:
        return self.following - len(self.bad)

    @classmethod
    def read(cls, path: Path, identity: str) -> Journal:
        """The journal of an earlier attempt at the very same thing, or an empty one."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return cls()
        if stored.get("identity") != identity:
            return cls()
        return cls(stored["following"], {int(n): why for n, why in stored["bad"].items()}, stored["crc"])

    def write(self, path: Path, identity: str) -> None:
        path.write_text(json.dumps({"identity": identity, "following": self.following, "bad": self.bad, "crc": self.crc}))


def prepare(
    path: Path,
    pictures: Callable[[], Pictures],
    shape: Shape,
    identity: dict[str, Any],
    *,
    is_current: Callable[[Packed], bool],
    max_bad: float,
    workers: int,
    progress: Progress,
) -> Packed:
    """The packed file at ``path``, made if it isn't there or no longer current.

    Another process at the same work is waited for. An interrupted preparation leaves its pixels in a ``.part`` file and goes
    on from there; any other failure leaves nothing.

    Raises:
        ValueError: too many unreadable pictures, no room, or no permission.
    """
    if (found := _find(path, is_current)) is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_name(f".{path.stem}.lock")):
            if (found := _find(path, is_current)) is not None:
                return found  # the process we waited for has made it
            _pack(path, pictures(), shape, identity, max_bad, workers, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise ValueError(
                f"can't write {path} ({error.strerror}); set paths.data to a folder with room and permission"
            ) from error
        raise
    return Packed.open(path)


def _find(path: Path, is_current: Callable[[Packed], bool]) -> Packed | None:
    if not path.is_file():
        return None
    packed = Packed.open(path)
    return packed if is_current(packed) else None


def _pack(
    path: Path, pictures: Pictures, shape: Shape, identity: dict[str, Any], max_bad: float, workers: int, progress: Progress
) -> None:
    part, notes = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    same = json.dumps([identity, pictures.fingerprint(), shape.__dict__], sort_keys=True)
    journal = Journal.read(notes, same) if part.exists() else Journal()
    finished = False
    try:
        with part.open("r+b" if journal.following else "wb") as handle:
            handle.truncate(journal.kept * shape.size**2 * shape.channels)
            handle.seek(0, 2)
            _write_pixels(handle, pictures, shape, journal, workers, progress, lambda: journal.write(notes, same))
            _check_bad(journal, pictures, max_bad)
            _finish(handle, pictures, shape, journal, identity)
        part.replace(path)
        finished = True
    except KeyboardInterrupt:
        journal.write(notes, same)
        log.info(
            "interrupted at %s of %s images; the same command goes on from there",
            f"{journal.following:,}",
            f"{len(pictures):,}",
        )
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        finished = True
        raise
    finally:
        if finished:
            notes.unlink(missing_ok=True)


def _write_pixels(
    handle: BinaryIO,
    pictures: Pictures,
    shape: Shape,
    journal: Journal,
    workers: int,
    progress: Progress,
    note: Callable[[], None],
) -> None:
    """Decode in parallel and write in order."""
    for count, (pixels, bad) in enumerate(_decoded(pictures, shape, journal.following, workers)):
        handle.write(pixels)
        journal.crc = zlib.crc32(pixels, journal.crc)
        journal.bad |= bad
        journal.following = min(journal.following + SLICE, len(pictures))
        progress(journal.following, len(pictures))
        if count % 64 == 63:  # every 4,096 images
            handle.flush()
            note()


Decoded: TypeAlias = tuple[bytes, dict[int, str]]
"""Pixels of a slice's readable pictures, and the unreadable ones by number, with the reason."""


def _decoded(pictures: Pictures, shape: Shape, start: int, workers: int) -> Iterator[Decoded]:
    """Slices in order, a few ahead of the writer, so that memory does not grow with the data set."""
    global _job
    _job = pictures, shape
    waiting: deque[Future[Decoded]] = deque()
    pool = _pool(pictures, len(pictures) - start, workers)
    try:
        for first in range(start, len(pictures), SLICE):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside torch's threads, which no child uses
                waiting.append(pool.submit(_decode_slice, first))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(pictures: Pictures, count: int, workers: int) -> Executor:
    """Forked processes for files that have to be decoded, since Pillow keeps the interpreter's lock for half of the work.

    Where there is no safe fork, and where there is little to do, threads: a process started from nothing would need seconds to
    import torch.
    """
    if sys.platform == "linux" and pictures.are_files and workers > 1 and count >= WORTH_PROCESSES:
        return ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), initializer=_begin_process)
    return ThreadPoolExecutor(workers if pictures.are_files else 1, initializer=torch.set_num_threads, initargs=(1,))


_job: tuple[Pictures, Shape]
"""What is being decoded; forked processes inherit it."""


def _begin_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)
    _job[0].reopen()


def _decode_slice(first: int) -> Decoded:
    pictures, shape = _job
    pixels, bad = [], {}
    for number in range(first, min(first + SLICE, len(pictures))):
        try:
            pixels.append(shape.decode(pictures, number).tobytes())
        except Exception as error:  # whatever a damaged file makes a decoder raise
            bad[number] = str(error) or type(error).__name__
    return b"".join(pixels), bad


def _check_bad(journal: Journal, pictures: Pictures, max_bad: float) -> None:
    if not journal.bad:
        return
    named = "; ".join(f"{pictures.name(number)} ({why})" for number, why in list(journal.bad.items())[:5])
    told = f"{len(journal.bad)} of {len(pictures)} images can't be read: {named}{' ...' if len(journal.bad) > 5 else ''}"
    if len(journal.bad) > max_bad * len(pictures):
        share = len(journal.bad) / len(pictures)
        raise ValueError(f"{told}. Mend or remove them, or allow more by dataset.max_bad={share + 0.005:.2f}")
    log.warning("%s; they are left out", told)


def _finish(handle: BinaryIO, pictures: Pictures, shape: Shape, journal: Journal, identity: dict[str, Any]) -> None:
    kept = np.delete(np.arange(len(pictures)), sorted(journal.bad))
    manifest = {
        "identity": identity,
        "count": len(kept),
        **shape.__dict__,
        "classes": list(pictures.classes),
        "crc32": journal.crc,
        "bad": {pictures.name(number): why for number, why in journal.bad.items()},
        "watched": pictures.watched(),
        "tool": f"gan_lab {gan_lab.__version__}",
    }
    write_tail(handle, None if pictures.labels is None else pictures.labels[kept], manifest)
    handle.flush()
    os.fsync(handle.fileno())


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait for any other process that holds ``path``; a killed one lets go."""
    with path.open("w") as handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process is preparing the same data set; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # the empty file stays: removed, it could be locked by two processes, each holding another one of that name
