"""The lock of a run directory: two processes never write to one run, and the second one is told who has it.

On one machine the operating system holds the lock, which a killed process releases. Between machines that share a file system,
which may not hold it, a file with the owner counts, as long as its time of change is recent; the owner's process renews it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from gan_lab.storage.files import read_text, remove_temporaries, write_atomically
from gan_lab.storage.json_records import parse_json
from gan_lab.utils.formatting import format_duration

try:
    import fcntl
except ImportError:  # Windows has no flock: there only the owner's file counts
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

OWNER = ".owner.json"
"""File in the run directory while a process trains it."""

RENEWAL_SECONDS, STALE_SECONDS = 30.0, 150.0
"""How often the owner renews its file, and after how long without that another machine may take over."""


@dataclass(frozen=True)
class Owner:
    """A process that trains a run."""

    host: str
    pid: int
    since: str

    @classmethod
    def this_process(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), datetime.now().isoformat(" ", timespec="seconds"))

    @classmethod
    def read(cls, path: Path) -> Owner | None:
        """The owner in a file; None if there is none, or it is not readable."""
        try:
            return cls(**parse_json(read_text(path)))
        except (OSError, ValueError, TypeError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which is created if it does not exist.

    Raises:
        ValueError: another process holds it; the message says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, own = folder / OWNER, Owner.this_process()
    with _system_lock(folder) as is_free:
        other = Owner.read(path)
        if not is_free:
            who = "another process" if other is None else str(other)
            raise ValueError(f"{folder} is being trained by {who}; wait for it or stop it first")
        if other is not None and other.host != own.host and (age := _age(path)) < STALE_SECONDS:
            raise ValueError(
                f"{folder} is being trained by {other}, whose last sign of life is {format_duration(max(0.0, age))} old. If it "
                f"was killed, try again in {format_duration(STALE_SECONDS - age)}, or remove {path}"
            )
        if other is not None:
            log.info("%s was left by %s, which ended without a trace", folder, other)
        remove_temporaries(folder)
        write_atomically(path, json.dumps(asdict(own)))
        ended = threading.Event()
        renewal = threading.Thread(target=_renew, args=(path, ended), name="gan_lab-lock", daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            if Owner.read(path) == own:
                with suppress(OSError):  # of a file system that has become read-only, which the training has reported
                    path.unlink(missing_ok=True)


@contextmanager
def _system_lock(folder: Path) -> Iterator[bool]:
    """Hold the operating system's lock of a folder; yields whether it was free."""
    handle = None if fcntl is None else os.open(folder, os.O_RDONLY)
    try:
        yield handle is None or _is_free(handle)
    finally:
        if handle is not None:
            os.close(handle)


def _is_free(handle: int) -> bool:
    """Take the lock of an open folder; whether no other process had it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the owner's file counts
        return True
    return True


def _renew(path: Path, ended: threading.Event) -> None:
    while not ended.wait(RENEWAL_SECONDS):
        with suppress(OSError):
            os.utime(path)


def _age(path: Path) -> float:
    """Seconds since a file was changed, by the clock of the file system, which may differ from this machine's."""
    probe = path.with_name(f"{OWNER}.{os.getpid()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
