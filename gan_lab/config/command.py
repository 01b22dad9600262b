"""How a command ends: errors are part of the interface."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
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
            _remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
            raise CompactHydraException(f"error: {str(error).strip()}") from None

    return run


def _remove_if_empty(folder: Path) -> None:
    """Hydra has made the job's folder before the job was refused; the working directory, which some commands name, stays."""
    if folder.resolve() != Path.cwd():
        with suppress(OSError):
            folder.rmdir()


def run_command(command: Callable[[], Any]) -> None:
    """Call a ``hydra.main`` function as a program: Ctrl-C ends it with exit code 130 and without a traceback."""
    try:
        command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
