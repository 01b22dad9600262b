"""Runs a command as a program: help, version, checks of the command line, and error messages."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.argument_checks import CONSTRAINED, SCHEDULED, check_additions, check_arguments
from gan_lab.config.argument_errors import explain
from gan_lab.config.help import format_help
from gan_lab.config.hydra_versions import COMMAND_TARGETS, allowing_targets
from gan_lab.config.path_arguments import quote_paths
from gan_lab.config.resolvers import claiming_folders
from gan_lab.runtime.signals import exit_on_termination
from gan_lab.runtime.torchrun import rank_prefix, report_error
from gan_lab.utils.formatting import printable_lines
from gan_lab.utils.streams import encode_anything
from gan_lab.version import __version__

USER_ERRORS = (ValueError, OSError, HydraException, OmegaConfBaseException)
"""Errors of users and of the system (no space, no permission), shown as a message. Other errors are shown with a traceback."""

FULL_ERROR = "HYDRA_FULL_ERROR"

MULTIRUN = ("-m", "--multirun")
"""The flag of several runs, which is put first: Hydra's parser accepts none between two overrides."""

NO_ROOM_FOR_LIBRARY = "failed to map segment"
"""What the system says about a library for which there is no address space."""

WITH_RUN_DIRECTORIES = ("config", "benchmark")
"""Configurations of the commands that train in new directories."""

LOG_FILE = "train.log"
"""Name of the log in a run directory."""

HYDRA_ECHO = "Error executing job with overrides:"
"""Beginning of the line, with all overrides, that Hydra prints before an error."""


def remove_empty_output_dir(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Decorator that removes the folders which Hydra created for a job that wrote nothing: one that failed, or a plan."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        finally:
            _remove_empty(Path(HydraConfig.get().runtime.output_dir).resolve())

    return run


def _remove_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but the log, which the console has shown, and parents that are then empty."""
    if folder == Path.cwd():  # some commands run in the working directory
        return
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} == {LOG_FILE}:
            (folder / LOG_FILE).unlink()
        folder.rmdir()
        for parent in folder.parents:
            if parent == Path.cwd() or not parent.is_relative_to(Path.cwd()):
                break
            parent.rmdir()


def accept_new_key(argument: str) -> str:
    """``schedule.of.KEY=...`` or ``constraints.METRIC=...`` with the ``++`` that Hydra demands for keys that may be new."""
    key = argument.lstrip("+")
    return f"++{key}" if key.startswith((SCHEDULED, CONSTRAINED, "constraints={")) else argument


def hydra_arguments(arguments: Sequence[str], config: str, rewrite: Callable[[Sequence[str]], list[str]] = list) -> list[str]:
    """Check a command line, and write it as Hydra reads it.

    Args:
        arguments: the command line without the command.
        config: name of the command's configuration.
        rewrite: a last change.

    Raises:
        ValueError: an argument is wrong.
    """
    check_arguments(arguments)
    ordered = sorted(arguments, key=lambda argument: argument not in MULTIRUN)
    rewritten = rewrite(quote_paths([accept_new_key(argument) for argument in ordered]))
    check_additions(rewritten, config)
    return rewritten


def error_message(error: Exception, arguments: Sequence[str], config: str) -> str:
    """What one of :data:`USER_ERRORS` says to the user of a command."""
    from_hydra = isinstance(error, HydraException | OmegaConfBaseException)
    return printable_lines(explain(error, arguments, config) if from_hydra else str(error))


def run_command(command: Callable[[], Any], config: str, rewrite: Callable[[Sequence[str]], list[str]] = list) -> None:
    """Call a ``hydra.main`` function as a program.

    One of :data:`USER_ERRORS` ends it with exit code 1 and a message (with a traceback under ``HYDRA_FULL_ERROR=1``), Ctrl-C
    with 130 and a closed pipe with 141, as a shell would.

    Args:
        command: the function.
        config: name of its configuration.
        rewrite: changes the command line before Hydra sees it.
    """
    with_traceback = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # otherwise Hydra formats errors itself, and unknown ones as tracebacks
    arguments = sys.argv[1:]
    encode_anything()
    try:
        if {"--help", "-h"} & set(arguments):
            print(format_help(config, arguments))
        elif "--version" in arguments:
            print(f"gan_lab {__version__}")
        else:
            arguments = hydra_arguments(arguments, config, rewrite)
            sys.argv[1:] = arguments
            only_shows = {flag.partition("=")[0] for flag in arguments} & {"--cfg", "-c", "--info", "-i"}
            folders = claiming_folders() if config in WITH_RUN_DIRECTORIES and not only_shows else nullcontext()
            with without_echo(), exit_on_termination(), allowing_targets(COMMAND_TARGETS), folders:
                command()
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discard what is still buffered
        sys.exit(141)
    except ImportError as error:
        if with_traceback or NO_ROOM_FOR_LIBRARY not in str(error):
            raise
        sys.exit(f"error: there is too little memory to load a library ({error}); a limit may be set, see ulimit -v")
    except USER_ERRORS as error:
        if with_traceback:
            raise
        message = f"{rank_prefix(error)}error: {error_message(error, arguments, config)}"
        report_error(message)
        sys.exit(message)


class _Filter:
    """A stream that leaves out :data:`HYDRA_ECHO`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith(HYDRA_ECHO) else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def without_echo() -> Iterator[None]:
    """Within the block, standard error leaves out :data:`HYDRA_ECHO`."""
    stderr = sys.stderr
    if stderr is None:  # closed
        yield
        return
    sys.stderr = _Filter(stderr)
    try:
        yield
    finally:
        sys.stderr = stderr
