"""Calls a command's function from Python, with its configuration composed and its log written as on the command line."""

from __future__ import annotations

import logging
import logging.config
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.command import error_message, hydra_arguments, without_echo
from gan_lab.config.compose import hydra_compose
from gan_lab.config.resolvers import claiming_folders

Result = TypeVar("Result")


def call_in_process(
    function: Callable[[DictConfig], Result],
    arguments: Sequence[str],
    module: str,
    config: str,
    rewrite: Callable[[Sequence[str]], list[str]] = list,
) -> Result:
    """Call a command's function in this process; Hydra's state and the log are as before afterwards, also after an error.

    Args:
        function: called with the configuration, while Hydra is running.
        arguments: the command line without the command.
        module: of the command, for messages.
        config: name of the command's configuration.
        rewrite: changes the command line before Hydra sees it.

    Returns:
        What ``function`` returns.

    Raises:
        ValueError: an argument is wrong, with the message of the command, or a flag.
    """
    _check(arguments, module)
    results: list[Result] = []
    errors: list[Exception] = []

    def logged(cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        with _job_logging(OmegaConf.to_container(hydra.job_logging, resolve=True), hydra.verbose):
            try:
                results.append(function(cfg))
            except Exception as error:  # Hydra 1.4 would write it to the log files of the program
                errors.append(error)

    try:
        arguments = hydra_arguments(arguments, config, rewrite)
        with hydra_compose(), claiming_folders(), without_echo():
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            hydra.run(config, logged, list(arguments), with_log_configuration=False)
            if errors:
                raise errors[0]
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(error_message(error, arguments, config)) from None  # the rest is about Hydra's internals
    return results[0]


def _check(arguments: Sequence[str], module: str) -> None:
    if isinstance(arguments, str) or not all(isinstance(argument, str) for argument in arguments):
        raise ValueError(f"{arguments!r}: the arguments are a list of texts, such as ['model=dcgan', 'epochs=2']")
    if flag := next((argument for argument in arguments if argument.startswith("-")), None):
        what = "starts several runs" if flag in ("-m", "--multirun") else "is a flag of the command"
        raise ValueError(f"{flag} {what}: type python -m {module} {shlex.join(arguments)}")


@contextmanager
def _job_logging(config: Any, verbose: bool | str | Sequence[str]) -> Iterator[None]:
    """Within the block, log as ``hydra.job_logging`` and ``hydra.verbose`` say.

    Unlike ``logging.config.dictConfig``, it neither closes nor forgets the handlers that the program has.

    Args:
        config: in the form of ``dictConfig``.
        verbose: whether all loggers log everything, or the names of those that do.
    """
    factory = logging.config.DictConfigurator(config)
    formats, handlers = factory.config.get("formatters", {}), factory.config.get("handlers", {})
    for name in formats:
        formats[name] = factory.configure_formatter(formats[name])
    for name in handlers:
        handlers[name] = factory.configure_handler(handlers[name])
    described = {**config.get("loggers", {}), "": config.get("root") or {}}
    levels = {name: logger["level"] for name, logger in described.items() if "level" in logger}
    verbose = ([""] if verbose else []) if isinstance(verbose, bool) else [verbose] if isinstance(verbose, str) else verbose
    levels |= dict.fromkeys(verbose, "DEBUG")
    before = {name: logging.getLogger(name).level for name in levels}
    root = logging.getLogger()
    kept = root.handlers[:]
    root.handlers[:] = [handlers[name] for name in described[""].get("handlers") or []]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        root.handlers[:] = kept
        for name, number in before.items():
            logging.getLogger(name).setLevel(number)
        for handler in handlers.values():
            handler.close()
