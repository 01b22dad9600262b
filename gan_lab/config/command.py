"""How a command ends: errors are part of the interface."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


def user_errors(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Turn a ValueError, the mistake of a user, into Hydra's one-message exit; any other error keeps its traceback."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except (ValueError, OmegaConfBaseException) as error:
            if "HYDRA_FULL_ERROR" in os.environ:
                raise
            raise HydraException(f"error: {str(error).strip()}") from None

    return run


def run_command(command: Callable[[], Any]) -> None:
    """Call a ``hydra.main`` function as a program: Ctrl-C ends it with exit code 130 and without a traceback."""
    try:
        command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
