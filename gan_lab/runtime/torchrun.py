"""The environment variables that ``torchrun`` sets for each process, used without importing torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

NON_MAIN_OVERRIDES = ("hydra.run.dir=.", "hydra/job_logging=gan_lab_console")
"""Overrides for all processes but the main process, which alone writes files: Hydra would create a directory for each."""

NON_MAIN_DELAY = 2.0
"""Seconds that other processes wait before reporting an error: if the main process has the same one, it reports it, and
``torchrun`` ends the others."""

PEER_FAILURE_DELAY = 6.0
"""Seconds that a process waits if its error is only that another process has ended."""


class PeerProcessFailed(ValueError):
    """Another process of the same run has ended."""


def is_distributed() -> bool:
    """Whether this process is one of several."""
    return "RANK" in os.environ and world_size() > 1


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank_and_size() -> tuple[int, int]:
    """This process's number among the processes on this machine, from 0, and how many those are."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if is_distributed() else (0, 1)


def add_rank_overrides(arguments: Sequence[str]) -> list[str]:
    """The command line with :data:`NON_MAIN_OVERRIDES` added, unless this is the main process.

    Raises:
        ValueError: a multirun under ``torchrun``.
    """
    if not is_distributed():
        return list(arguments)
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError("torchrun can't be combined with a multirun (-m): start it once for each run")
    return [*arguments, *(NON_MAIN_OVERRIDES if rank() else ())]


def rank_prefix(error: Exception) -> str:
    """Prefix of an error message under ``torchrun``, ``process 1 of 2: ``; waits so that the root cause is reported first."""
    if not is_distributed():
        return ""
    time.sleep(PEER_FAILURE_DELAY if isinstance(error, PeerProcessFailed) else NON_MAIN_DELAY if rank() else 0.0)
    return f"process {rank()} of {world_size()}: "


def report_error(message: str) -> None:
    """Make ``torchrun`` show ``message`` as the root cause, at the end of its report about the processes that failed.

    It prints that report whenever a process fails. The message goes into the file that PyTorch's decorator
    ``torch.distributed.elastic.multiprocessing.errors.record`` would write.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        content = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with suppress(OSError):  # the message is printed in any case
            Path(path).write_text(json.dumps(content))
