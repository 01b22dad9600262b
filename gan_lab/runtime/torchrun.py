"""What ``torchrun`` tells each of the processes it starts, read without importing torch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

NON_MAIN_OVERRIDES = ("hydra.run.dir=.", "hydra/job_logging=gan_lab_console")
"""Overrides of a process that leaves all files to the leader: Hydra would give each a directory of its own."""

NON_MAIN_DELAY = 2.0
"""Seconds: what all processes find wrong alike is said by the leader; by then ``torchrun`` has ended the others."""

PEER_FAILURE_DELAY = 6.0
"""Seconds: longer, for whoever has only noticed that another one has ended."""


class PeerProcessFailed(ValueError):
    """Another process of the same training has ended."""


def is_distributed() -> bool:
    """Whether this process is one of several."""
    return "RANK" in os.environ and world_size() > 1


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Processes in all."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank_and_size() -> tuple[int, int]:
    """This process's number among those of this machine, and their number."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if is_distributed() else (0, 1)


def add_rank_overrides(arguments: Sequence[str]) -> list[str]:
    """The command line as this process shall read it.

    Raises:
        ValueError: it asks for several trainings, each of which would be every process's.
    """
    if not is_distributed():
        return list(arguments)
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError("torchrun makes one training of several processes: it can't be combined with a multirun")
    return [*arguments, *(NON_MAIN_OVERRIDES if rank() else ())]


def rank_prefix(error: Exception) -> str:
    """What an error message begins with, once it is this process's turn to speak."""
    if not is_distributed():
        return ""
    time.sleep(PEER_FAILURE_DELAY if isinstance(error, PeerProcessFailed) else NON_MAIN_DELAY if rank() else 0.0)
    return f"process {rank()} of {world_size()}: "
