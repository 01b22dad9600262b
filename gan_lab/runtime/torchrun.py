"""What ``torchrun`` tells each of the processes it starts, read without importing torch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

FOLLOWER = ("hydra.run.dir=.", "hydra/job_logging=gan_lab_console")
"""Overrides of a process that leaves all files to the leader: Hydra would give each a directory of its own."""

AFTER_THE_LEADER = 2.0
"""Seconds: what all processes find wrong alike is said by the leader; by then ``torchrun`` has ended the others."""

AFTER_THE_CAUSE = 6.0
"""Seconds: longer, for whoever has only noticed that another one has ended."""


class Abandoned(ValueError):
    """Another process of the same training has ended."""


def started() -> bool:
    """Whether this process is one of several."""
    return "RANK" in os.environ and count() > 1


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """Processes in all."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_place() -> tuple[int, int]:
    """This process's number among those of this machine, and their number."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if started() else (0, 1)


def as_one_of_several(arguments: Sequence[str]) -> list[str]:
    """The command line as this process shall read it.

    Raises:
        ValueError: it asks for several trainings, each of which would be every process's.
    """
    if not started():
        return list(arguments)
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError("torchrun makes one training of several processes: it can't be combined with a multirun")
    return [*arguments, *(FOLLOWER if rank() else ())]


def spoken_by(error: Exception) -> str:
    """What an error message begins with, once it is this process's turn to speak."""
    if not started():
        return ""
    time.sleep(AFTER_THE_CAUSE if isinstance(error, Abandoned) else AFTER_THE_LEADER if rank() else 0.0)
    return f"process {rank()} of {count()}: "
