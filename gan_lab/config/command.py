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
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.help import help_of, is_asked_for
from gan_lab.runtime.torchrun import rank_prefix

USER_ERRORS = (ValueError, OSError, HydraException, OmegaConfBaseException)
"""Mistakes of a user, and what the system refuses: no room, no permission. Any other error is ours and keeps its traceback."""

FULL_ERROR = "HYDRA_FULL_ERROR"


def remove_empty_output_dir(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Remove the folder Hydra has made for a job that was refused, unless something is in it."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except Exception:
            folder = Path(HydraConfig.get().runtime.output_dir)
            if folder.resolve() != Path.cwd():  # some commands name the working directory
                with suppress(OSError):
                    folder.rmdir()
            raise

    return run


def expand_home(argument: str) -> str:
    """``key=~/pictures`` as an override Hydra can read: no shell expands that, and Hydra's grammar has no ``~`` in a value."""
    key, equals, value = argument.partition("=")
    if value != "~" and not value.startswith("~/"):
        return argument
    path = str(Path(value).expanduser()).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}{equals}'{path}'"


def run_command(command: Callable[[], Any], config: str, rewrite: Callable[[Sequence[str]], list[str]] = list) -> None:
    """Call a ``hydra.main`` function as a program.

    An error of :data:`USER_ERRORS` ends it with exit code 1 and a message (with a traceback under
    ``HYDRA_FULL_ERROR=1``), Ctrl-C with 130 and a closed pipe with 141, as a shell would tell it.

    Args:
        command: the function.
        config: name of its configuration.
        rewrite: changes the command line before Hydra sees it.
    """
    with_traceback = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # Hydra would word errors itself, and those it doesn't know as tracebacks
    try:
        if is_asked_for(sys.argv[1:]):
            print(help_of(config))
        else:
            sys.argv[1:] = rewrite([expand_home(argument) for argument in sys.argv[1:]])
            command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        sys.exit(141)
    except USER_ERRORS as error:
        if with_traceback:
            raise
        cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        sys.exit(f"{rank_prefix(error)}error: {error}{cause}")
