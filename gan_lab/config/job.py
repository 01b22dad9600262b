"""One training as the command line asks for it: a new run, or one to be resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.schema import CONF_DIR, check
from gan_lab.directory import RunDirectory, write_atomically

FIXED_ON_RESUME = ("model", "dataset", "seed", "batch_size", "ema")
"""Sections a checkpoint is made of; a run with others is another run."""


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
        directory, overrides = RunDirectory(_from_here(hydra.runtime.output_dir)), given
    else:
        directory = RunDirectory.find(cfg.resume)
        cfg, overrides = _resumed(directory, given)
    _settle_length(cfg, given)
    OmegaConf.resolve(cfg)
    check(cfg)
    return Job(cfg, overrides, directory, _name(overrides), group, resumed)


def _from_here(path: str) -> Path:
    """``path`` relative to the working directory if it lies in it: shorter to read, and what one types to resume."""
    absolute = Path(path).resolve()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _name(overrides: Sequence[str]) -> str:
    """What sets the run apart from the default experiment, without what only concerns where its words go."""
    return ",".join(o for o in overrides if not o.startswith(("console", "tracker"))) or "default"


def _settle_length(cfg: DictConfig, given: Sequence[str]) -> None:
    """``epochs`` and ``kimg`` say the same thing: what the command line names wins over what a file or the past says."""
    named = {override.lstrip("+").partition("=")[0] for override in given} & {"epochs", "kimg"}
    if len(named) == 2:
        raise ValueError("epochs and kimg both say how long to train: give one of them")
    if named == {"epochs"}:
        cfg.kimg = None


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
            raise ValueError(
                f"resume: {key} belongs to what {directory.path} has learnt and can't become {value}; start a new run for it"
            )
        OmegaConf.update(stored, key, value)
    return stored, (*first, *given)


def _refuse_other_groups(given: Sequence[str]) -> None:
    groups = {folder.name for folder in CONF_DIR.iterdir() if folder.is_dir()}
    for override in given:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if key in groups:
            raise ValueError(
                f"resume: {override} would exchange a whole group of a run under way; single values such as {key}.…= may change"
            )


def _leaves(cfg: Any, prefix: str = "") -> dict[str, Any]:
    """Resolved values by dotted key; lists count as values."""
    plain = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
    if not isinstance(plain, Mapping) or not plain:
        return {prefix: plain}
    return {k: v for key, value in plain.items() for k, v in _leaves(value, f"{prefix}.{key!s}".lstrip(".")).items()}


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
        with job.directory.config.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise ValueError(f"{job.directory.path} already holds a run: resume={job.directory.path} goes on with it") from None
