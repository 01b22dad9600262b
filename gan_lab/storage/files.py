"""Atomic writes, and locks between processes."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has no file locks of this kind: a second process working on the same run goes unnoticed
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

TEMPORARY = re.compile(r"\..+\.\d+")
"""Names of the files that :func:`atomic_file` writes: those that they replace, hidden, and with the number of the process."""


def check_is_file(path: Path) -> None:
    """Check that opening a path cannot wait for ever, as a pipe would, and that its content ends, as a device's may not.

    Raises:
        ValueError: it is neither a file nor a folder. Nothing is said of a path that does not exist.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{path} is a pipe or a device, and no file")


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a file in UTF-8, as ``path.read_text`` returns it.

    Raises:
        ValueError: it is a pipe or a device, or with ``errors="strict"`` no UTF-8.
        OSError: it can't be read.
    """
    check_is_file(path)
    return path.read_text(encoding="utf-8", errors=errors)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Within the block, errors of the system that name no file, as those of a full disk, name ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that replaces ``path`` in one step when the block ends without an error.

    Readers see the old file or the complete new one, even after a crash. An error in the block leaves ``path`` as it was.

    Args:
        path: the file to replace; missing parent folders are created.

    Raises:
        OSError: the folder or the file cannot be written; the error names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with naming_file(path):
        try:
            with temporary.open("wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):  # of a file system that has become read-only; the error in the block is the one to report
                temporary.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Make the new names of files outlive a loss of power, where the system can do that."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        with suppress(OSError):  # some network file systems have no such thing
            os.fsync(folder)
    finally:
        os.close(folder)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes have left of :func:`atomic_file` in a folder and its subfolders; nobody may be writing."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content`` (text as UTF-8) in one step; see :func:`atomic_file`."""
    with atomic_file(path) as handle:
        handle.write(content.encode("utf-8") if isinstance(content, str) else content)


def claim_folder(path: Path) -> Path:
    """Create the folder ``path``, or if there is one ``path-2``, ``path-3`` and so on; no other process gets the same one."""
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        while True:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileNotFoundError:  # another process has just removed the empty parent
                continue
            except FileExistsError:
                break
            return folder
    raise AssertionError("unreachable")


@contextmanager
def file_lock(path: Path, waiting: str) -> Iterator[None]:
    """Hold a lock between processes; wait while another process holds it. The lock of a killed process is released.

    The lock file is never removed: otherwise two processes could each hold a lock on a different file of the same name. It is a
    record lock, which forked children do not inherit: orphans of a killed process must not keep it.

    Args:
        path: the lock file; created if it does not exist.
        waiting: message logged if another process holds the lock.
    """
    with path.open("w") as lock:
        if fcntl is not None:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                log.info(waiting)
                fcntl.lockf(lock, fcntl.LOCK_EX)
        yield
