"""Configuration: where ``conf/`` is, what the top level may hold, and how a section becomes an object.

Imports neither torch nor the rest of the package, so that ``--help``, ``--cfg job`` and a misspelt key answer at once.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.directory import RunDirectory, write_atomically

log = logging.getLogger(__name__)

_HERE = Path(__file__).resolve().parent
CONF_DIR = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if (folder / "config.yaml").is_file())
"""The configuration tree: inside the package in a wheel, beside it in a checkout."""

ALLOWED_TARGETS = ("gan_lab.", "torch.optim.")
"""A ``_target_`` outside these is refused: a configuration chooses among objects, it does not run code."""

FIXED_ON_RESUME = ("model", "dataset", "seed", "batch_size", "ema")
"""Sections a checkpoint is made of; a run with others is another run."""


# -- the top level -----------------------------------------------------------------------------------------------------


@dataclass
class Sample:
    every_kimg: float | None = MISSING
    at_epochs: list[float] | None = MISSING
    count: int = MISSING
    columns: int | None = MISSING
    scale: int = MISSING


@dataclass
class Log:
    every_kimg: float | None = MISSING


@dataclass
class Checkpoint:
    every_kimg: float | None = MISSING
    resume_from: str = MISSING


@dataclass
class Paths:
    data: str = MISSING


@dataclass
class Config:
    """Types of ``conf/config.yaml``, which holds the values and what they mean."""

    model: Any = MISSING
    dataset: Any = MISSING
    optimizer: Any = MISSING
    loss: Any = MISSING
    penalty: Any = MISSING
    precision: Any = MISSING
    schedule: Any = MISSING
    ema: Any = MISSING
    evaluation: Any = MISSING
    tracker: Any = MISSING
    epochs: float = MISSING
    kimg: float | None = MISSING
    batch_size: int = MISSING
    n_critic: int = MISSING
    accumulate: int = MISSING
    gradient_clip: float | None = MISSING
    memory_format: str = MISSING
    device: str = MISSING
    seed: int = MISSING
    deterministic: bool = MISSING
    log: Log = MISSING
    sample: Sample = MISSING
    checkpoint: Checkpoint = MISSING
    console: str = MISSING
    objective: Any = MISSING
    resume: str | None = MISSING
    paths: Paths = MISSING


ConfigStore.instance().store(name="schema", node=Config)
OmegaConf.register_new_resolver(
    "gan_lab.run_dir", lambda resume: str(resume) if resume else f"outputs/{datetime.now():%Y-%m-%d/%H-%M-%S}", replace=True, use_cache=True
)


def check(cfg: DictConfig) -> None:
    """Check what no single field can say.

    Raises:
        ValueError: with the key, its value and what is allowed.
    """
    for key in ("batch_size", "n_critic", "accumulate", "sample.count"):
        if OmegaConf.select(cfg, key) < 1:
            raise ValueError(f"{key}={OmegaConf.select(cfg, key)}: must be at least 1")
    for key in ("epochs", "kimg", "gradient_clip", "log.every_kimg", "sample.every_kimg", "checkpoint.every_kimg", "evaluation.every_kimg"):
        value = OmegaConf.select(cfg, key)
        if value is not None and value <= 0:
            raise ValueError(f"{key}={value}: must be positive")
    if cfg.batch_size % cfg.accumulate:
        raise ValueError(f"accumulate={cfg.accumulate}: must divide batch_size={cfg.batch_size}")
    _one_of("memory_format", cfg.memory_format, ("channels_last", "contiguous"))
    _one_of("checkpoint.resume_from", cfg.checkpoint.resume_from, ("last", "best"))


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{key}={value}: must be one of {', '.join(allowed)}")


# -- from a section to an object ---------------------------------------------------------------------------------------


def instantiate(node: Any, where: str = "", **more: Any) -> Any:
    """The object a section describes; the one call of Hydra's ``instantiate``.

    Every section below it is first held against the signature of its ``_target_``.

    Args:
        node: a section with ``_target_``, or a dictionary of such.
        where: its name, for messages.
        more: further arguments of the outermost target.

    Raises:
        ValueError: a target that is not allowed, an unknown or missing argument, a value of the wrong type, or whatever the
            object itself refuses.
    """
    _check_section(node, where, tuple(more))
    try:
        return hydra_instantiate(node, _convert_="all", **more)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError):
            raise ValueError(str(cause)) from cause
        raise


def _check_section(node: Any, where: str, given: tuple[str, ...] = ()) -> None:
    if OmegaConf.is_list(node):
        for n, item in enumerate(node):
            _check_section(item, f"{where}[{n}]")
    if not OmegaConf.is_dict(node):
        return
    if "_target_" in node:
        _check_arguments(node, where, given)
    for key, value in node.items():
        _check_section(value, f"{where}.{key}".lstrip("."))


def _check_arguments(node: DictConfig, where: str, given: tuple[str, ...]) -> None:
    name = node["_target_"]
    if not str(name).startswith(ALLOWED_TARGETS):
        raise ValueError(f"{where}._target_={name}: targets are objects of {' or '.join(t + '*' for t in ALLOWED_TARGETS)}")
    try:
        target = get_object(name)
    except (ImportError, ValueError, HydraException) as error:
        raise ValueError(f"{where}._target_={name}: no such object") from error
    parameters, hints = _signature(target)
    own = {str(key): node[key] for key in node if not str(key).startswith("_")}
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in own.items():
        if key not in parameters and not takes_more:
            raise ValueError(f"{where}.{key}: {name} takes {', '.join(parameters) or 'no arguments'}")
        if not _fits(value, hints.get(key, Any)):
            raise ValueError(f"{where}.{key}={value}: must be {_spell(hints[key])}")
    needed = [k for k, p in parameters.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [k for k in needed if k not in own and k not in given]
    if missing and not node.get("_partial_", False):
        raise ValueError(f"{where}: {name} needs {', '.join(missing)}")


def _signature(target: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and type hints of a callable; those behind ``**kwargs`` of a subclass are its parents'."""
    parameters = dict(inspect.signature(target).parameters)
    hints: dict[str, Any] = {}
    for owner in reversed(target.__mro__ if inspect.isclass(target) else [target]):
        function = owner.__dict__.get("__init__") if inspect.isclass(owner) else owner
        if isinstance(function, types.FunctionType):
            hints |= typing.get_type_hints(function)
    return parameters, hints


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain configuration value can be what ``hint`` says; whatever is not a plain type passes."""
    if OmegaConf.is_dict(value) or hint is Any:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin in (list, tuple) or hint in (list, tuple):
        return OmegaConf.is_list(value) and all(_fits(item, arguments[0] if arguments else Any) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool, type(None)):
        return isinstance(value, hint)
    return hint is not None and not isinstance(value, str | int | float | bool | type(None))


def _spell(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")


# -- a run's configuration ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One training as Hydra hands it over.

    Attributes:
        cfg: the resolved configuration.
        overrides: of the command line, from the first start of the run on.
        directory: the run's.
        name: the overrides as one word.
        group: the multirun's name, or None.
        resumed: whether the directory already holds the run.
    """

    cfg: DictConfig
    overrides: tuple[str, ...]
    directory: RunDirectory
    name: str
    group: str | None
    resumed: bool


def open_job(cfg: DictConfig) -> Job:
    """Settle the configuration and the directory of the job Hydra is running: a new run, or one to be resumed."""
    hydra = HydraConfig.get()
    given = tuple(o for o in hydra.overrides.task if o.partition("=")[0] != "resume")
    multirun = hydra.mode == RunMode.MULTIRUN
    group = Path(hydra.sweep.dir).as_posix().removeprefix("multirun/") if multirun else None
    resumed = cfg.resume is not None
    if not resumed:
        directory, overrides = RunDirectory(hydra.runtime.output_dir), given
    else:
        directory = RunDirectory.find(cfg.resume)
        cfg, overrides = _resumed(directory, given)
    OmegaConf.resolve(cfg)
    check(cfg)
    return Job(cfg, overrides, directory, ",".join(overrides) or "default", group, resumed)


def _resumed(directory: RunDirectory, given: tuple[str, ...]) -> tuple[DictConfig, tuple[str, ...]]:
    """The stored configuration with what ``given`` changes in it.

    What the overrides change is found by composing without and with them; so a value others refer to changes those too,
    while defaults that have moved since the run began stay as the run had them.
    """
    stored = read_config(directory)
    first = tuple(stored.pop("overrides", ()))
    _refuse_other_groups(given)
    before, after = (_leaves(compose("config", overrides=[*o])) for o in (first, (*first, *given)))
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    changed.pop("resume", None)
    for key, value in changed.items():
        section = key.partition(".")[0]
        if section in FIXED_ON_RESUME:
            raise ValueError(f"resume: {key} belongs to what {directory.path} has learnt and can't change to {value}; start a new run for that")
        OmegaConf.update(stored, key, value)
    return stored, (*first, *given)


def _refuse_other_groups(given: Sequence[str]) -> None:
    groups = {folder.name for folder in CONF_DIR.iterdir() if folder.is_dir()}
    for override in given:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if key in groups:
            raise ValueError(f"resume: {override} would exchange a whole group of a run under way; single values such as {key}.…= may change")


def _leaves(cfg: Any, prefix: str = "") -> dict[str, Any]:
    """Resolved values by dotted key; lists count as values."""
    plain = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
    if not isinstance(plain, Mapping) or not plain:
        return {prefix: plain}
    return {k: v for key, value in plain.items() for k, v in _leaves(value, f"{prefix}.{key}".lstrip(".")).items()}


def read_config(directory: RunDirectory) -> DictConfig:
    """A run's ``config.yaml``.

    Raises:
        ValueError: it is not a configuration.
    """
    try:
        cfg = OmegaConf.load(directory.config)
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{directory.config} can't be read: {error}") from error
    except Exception as error:  # the YAML parser's own errors, without importing it for their name
        raise ValueError(f"{directory.config} is not YAML: {error}") from error
    if not isinstance(cfg, DictConfig) or "model" not in cfg:
        raise ValueError(f"{directory.config} is not the configuration of a run")
    return cfg


def write_config(job: Job) -> None:
    """Write ``config.yaml``, which makes the directory this run's own.

    Raises:
        ValueError: a new run would overwrite another one.
    """
    text = OmegaConf.to_yaml(OmegaConf.create({"overrides": list(job.overrides), **OmegaConf.to_container(job.cfg)}))  # type: ignore[dict-item]
    if job.resumed:
        return write_atomically(job.directory.config, text)
    job.directory.path.mkdir(parents=True, exist_ok=True)
    try:
        with open(job.directory.config, "x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise ValueError(
            f"{job.directory.path} already holds a run: go on with it by resume={job.directory.path}, or give another hydra.run.dir="
        ) from None


# -- commands ----------------------------------------------------------------------------------------------------------


def user_errors(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Turn a ValueError, the mistake of a user, into Hydra's one-message exit; any other error keeps its traceback."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except (ValueError, OmegaConfBaseException) as error:
            if "HYDRA_FULL_ERROR" in os.environ:
                raise
            log.debug("refused", exc_info=True)
            raise HydraException(f"error: {str(error).strip()}") from None

    return run


def run_command(command: Callable[[], Any]) -> None:
    """Call a ``hydra.main`` function as a program: Ctrl-C ends it with exit code 130 and without a traceback."""
    try:
        command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
