"""How a command ends: errors are part of the interface."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


def user_errors(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Turn the mistake of a user (ValueError) and of the system (OSError: no room, no permission) into one message.

    Any other error, and any at all under ``HYDRA_FULL_ERROR=1``, keeps its traceback.
    """

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except (ValueError, OSError, OmegaConfBaseException) as error:
            if "HYDRA_FULL_ERROR" in os.environ:
                raise
            _remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
            raise CompactHydraException(f"error: {str(error).strip()}") from None

    return run


def _remove_if_empty(folder: Path) -> None:
    """Hydra has made the job's folder before the job was refused; the working directory, which some commands name, stays."""
    if folder.resolve() != Path.cwd():
        with suppress(OSError):
            folder.rmdir()


def run_command(command: Callable[[], Any], rewrite: Callable[[Sequence[str]], list[str]] = list) -> None:
    """Call a ``hydra.main`` function as a program.

    Ctrl-C ends it with exit code 130, a closed pipe with 141, as a shell would tell it; neither with a traceback.

    Args:
        command: the function.
        rewrite: changes the command line before Hydra sees it.
    """
    try:
        sys.argv[1:] = rewrite(sys.argv[1:])
        command()
        sys.stdout.flush()
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
            sys.exit(141)
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
