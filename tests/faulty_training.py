"""A training in which something goes wrong: ``python tests/faulty_training.py FAULT STEP gan_lab.train's arguments``.

The fault happens after step number STEP of this process. It stands for what the system does to a training, and is made with the
system's means where there are any: a limit of the address space, a read-only folder, a file that changes. ``soak.py`` compares
what comes of it with an undisturbed training.
"""

from __future__ import annotations

import datetime
import os
import resource
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gan_lab.tracking.console import Console
from gan_lab.training import trainer

RUN, DATA = Path("run"), Path("data")


def full_memory() -> None:
    """No address space is left: whatever needs more fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))


def raising_tracker() -> None:
    """A tracker raises at its next row."""

    def fail(self: Console, row: object) -> None:
        raise ConnectionError("the service does not answer")

    Console.metrics = fail  # type: ignore[method-assign, assignment]


def jumping_clock() -> None:
    """The wall clock goes back by a year."""
    real, year = time.time, 365 * 86400

    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Past:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real() - year
    datetime.datetime = Past  # type: ignore[misc]


def read_only() -> None:
    """No file of the run can be written any more, and none added."""
    set_read_only(RUN, True)


def set_read_only(folder: Path, value: bool) -> None:
    """Let nobody add files to a folder and to those below it, or undo that; for root by an attribute of the file system."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        if os.geteuid():
            path.chmod(0o555 if value else 0o755)
        else:
            subprocess.run(["chattr", "+i" if value else "-i", str(path)], check=True, capture_output=True)


def packed_file() -> Path:
    """The file that the images were packed into."""
    return next(DATA.rglob("*.pack"))


def data_removed() -> None:
    """Images and their packed file vanish."""
    for path in [packed_file(), *Path("pictures").glob("*.png")]:
        path.rename(path.with_name(f"{path.name}.away"))


def data_cut() -> None:
    """The packed file is cut short."""
    os.truncate(packed_file(), packed_file().stat().st_size // 3)


def data_changed() -> None:
    """A byte of a pixel in the packed file is another one."""
    with packed_file().open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([255 - byte]))


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (full_memory, raising_tracker, jumping_clock, read_only, data_removed, data_cut, data_changed)
}


def undo(fault: str) -> None:
    """Mend what is left of a fault in the working directory, as its user would."""
    if fault == "read_only":
        set_read_only(RUN, False)
    for path in Path().rglob("*.away"):
        path.rename(path.with_suffix(""))
    if fault in ("data_cut", "data_changed"):
        packed_file().unlink()  # it is packed again


def main() -> None:
    fault, when, *arguments = sys.argv[1:]
    step, done = trainer.Trainer.step, 0

    def faulty_step(self: trainer.Trainer, batch: object) -> None:
        nonlocal done
        step(self, batch)  # type: ignore[arg-type]
        done += 1
        if done == int(when):
            FAULTS[fault]()

    trainer.Trainer.step = faulty_step  # type: ignore[method-assign, assignment]
    sys.argv = ["train", *arguments]
    runpy.run_module("gan_lab.train", run_name="__main__")


if __name__ == "__main__":
    main()
