"""Files written whole or not at all, and locks between processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock: there a second process on the same run is not noticed
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` in one step: a reader, or a crash, sees the old file or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        with unfinished.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def file_lock(path: Path, waiting: str) -> Iterator[None]:
    """Wait for any other process that holds the lock ``path``; a killed one lets go.

    The file stays when it is done: removed, it could be locked by two processes, each holding another one of that name. It is
    a record lock, which forked children do not inherit: orphans of a killed process must not keep it.

    Args:
        path: made if it isn't there.
        waiting: what is logged when another process holds it.
    """
    with path.open("w") as lock:
        if fcntl is not None:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                log.info(waiting)
                fcntl.lockf(lock, fcntl.LOCK_EX)
        yield
