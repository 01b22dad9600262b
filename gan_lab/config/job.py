"""A job: the training run that a command line describes, new or resumed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.allowed_values import check_sections
from gan_lab.config.compose import BASE_CONFIG, group_choices, hydra_compose
from gan_lab.config.effects import check_effects, check_study_keys, learning_rate_keys
from gan_lab.config.resolve import resolve_and_validate
from gan_lab.config.resume import RESUME_KEYS, with_changes
from gan_lab.config.stored_config import FIRST_LINE, LAST_LINE, read_config
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import first_line, hide_passwords
from gan_lab.version import __version__

log = logging.getLogger(__name__)

NOT_IN_NAME = ("console", "preview", "tracker", "seeds=", "study.", "pruner", "sweep=", "hydra.")
"""Beginnings of overrides that are left out of a job's name, as they don't affect what is trained."""

FIRST_AND_LAST = ("model", "dataset", "optimizer", "loss", "batch_size", "seed", "paths.data", "paths.weights")
"""Keys that every stored configuration has; the paths are its end, which a file that was cut short has lost."""

MULTIRUN = "multirun.yaml"
"""File in the folder of a multirun in which Hydra records its command line."""


@dataclass(frozen=True)
class Job:
    """A training run as Hydra starts it.

    Attributes:
        cfg: the resolved configuration.
        choices: the chosen option of each group.
        overrides: single values given on the command line, since the first start of the run.
        directory: the run directory.
        name: its overrides, separated by commas.
        folder: the folder of the multirun that it belongs to, or None.
        resumed: whether the directory already holds the run.
        rate_keys: the keys that set the learning rates.
    """

    cfg: DictConfig
    choices: dict[str, Any]
    overrides: tuple[str, ...]
    directory: RunDirectory
    name: str
    folder: Path | None
    resumed: bool
    rate_keys: tuple[str, ...] = ("optimizer.lr",)

    @property
    def group(self) -> str | None:
        """Name of the multirun that the job belongs to, or None."""
        return None if self.folder is None else self.folder.as_posix().removeprefix("multirun/")


def open_job(cfg: DictConfig) -> Job:
    """The job that Hydra is running, with its configuration resolved and its directory chosen.

    Raises:
        ValueError: the configuration is wrong, or the run to resume can't be read.
    """
    hydra = HydraConfig.get()
    choices = group_choices(hydra)
    multirun = hydra.mode == RunMode.MULTIRUN
    if cfg.plan and (multirun or cfg.resume is not None):
        raise ValueError(
            "plan=true estimates a new run: leave out -m and resume; with sweep=... or seeds=... it is about all runs"
        )
    for key, several in (("sweep", choices.get("sweep") is not None), ("seeds", cfg.seeds != 1)):
        if several and not multirun and cfg.resume is None and not cfg.plan:
            raise ValueError(f"{key}={choices.get(key, cfg.get(key))} needs several runs: add -m")
    task = [o for o in hydra.overrides.task if o.partition("=")[0] not in RESUME_KEYS]
    given = tuple(o for o in task if o.lstrip("+~").partition("=")[0].partition("@")[0] not in choices)
    folder = Path(hydra.sweep.dir) if multirun else None
    check_sections(cfg, given)
    rate_keys = learning_rate_keys(cfg)
    if cfg.resume is None:
        check_effects(cfg, given, task)
        if not multirun:
            check_study_keys(given)
        cfg = resolve_and_validate(cfg, given)
        directory = RunDirectory(_shorten(hydra.runtime.output_dir))
        return Job(cfg, choices, given, directory, _name(task), folder, resumed=False, rate_keys=rate_keys)
    directory = RunDirectory.find(cfg.resume)
    stored = read_config(directory)
    new = given[len(stored.overrides) :]
    check_effects(cfg, new, task)
    if missing := [key for key in FIRST_AND_LAST if OmegaConf.select(stored, key) is None]:
        raise ValueError(f"{directory.config} is damaged: it lacks {' and '.join(missing)}; restore it from a copy")
    try:
        merged = resolve_and_validate(with_changes(stored, cfg, new, directory), new)
    except OmegaConfBaseException as error:
        raise ValueError(f"{directory.config} is damaged: {first_line(error)}; restore it from a copy") from error
    name = _name_of(directory)
    return Job(merged, dict(stored.choices), given, directory, name, folder, resumed=True, rate_keys=rate_keys)


def _name_of(directory: RunDirectory) -> str:
    """The name of a run; a damaged summary, which is written again, does not keep it from being resumed."""
    try:
        return directory.read_summary().get("name") or directory.path.name
    except ValueError as error:
        log.warning("resume: %s; it will be written again", error)
        directory.summary.unlink()
        return directory.path.name


def jobs_per_seed(job: Job) -> list[Job]:
    """N jobs, each with its own seed and folder, for a job with ``seeds=N``; otherwise only the job itself."""
    if job.cfg.seeds == 1 or job.resumed:
        return [job]
    jobs = []
    for seed in range(job.cfg.seed, job.cfg.seed + job.cfg.seeds):
        cfg = job.cfg.copy()
        cfg.seed, cfg.seeds = seed, 1
        overrides = (*(o for o in job.overrides if o.partition("=")[0] not in ("seed", "seeds")), f"seed={seed}")
        directory = RunDirectory(job.directory.path / f"seed-{seed}")
        jobs.append(replace(job, cfg=cfg, overrides=overrides, directory=directory, name=f"{job.name},seed={seed}"))
    return jobs


def compose_job(overrides: Sequence[str], directory: RunDirectory) -> Job:
    """The job of a new run that a benchmark trains, independent of the running command's own configuration.

    Args:
        overrides: as on the command line of ``gan_lab.train``.
        directory: the run directory.

    Raises:
        ValueError: a value is not allowed.
    """
    with hydra_compose():
        cfg = resolve_and_validate(compose(BASE_CONFIG, overrides=list(overrides)), overrides)
    return Job(cfg, {}, tuple(overrides), directory, _name(overrides), None, resumed=False)


def option(group: str, name: str) -> Any:
    """The section that ``group=name`` adds to the default configuration."""
    return compose(BASE_CONFIG, overrides=[f"{group}={name}"])[group]


def write_config(job: Job) -> None:
    """Write ``config.yaml``, which makes the directory a run directory, without the passwords of databases.

    Hydra's own record of a multirun loses them, too.

    Raises:
        ValueError: the directory already belongs to another run.
    """
    cfg = hide_passwords(OmegaConf.to_container(job.cfg))
    head = {"version": __version__, "choices": job.choices, "overrides": hide_passwords(job.overrides)}
    text = OmegaConf.to_yaml(OmegaConf.create(head | {key: value for key, value in cfg.items() if key not in RESUME_KEYS}))
    if job.folder is not None and (record := job.folder / MULTIRUN).is_file():
        shown = record.read_text(encoding="utf-8")
        if (hidden := hide_passwords(shown)) != shown:
            write_atomically(record, hidden)
    if not job.resumed and job.directory.has_begun():
        raise ValueError(f"{job.directory.path} already holds a run: {quote(f'resume={job.directory.path}')} continues it")
    write_atomically(job.directory.config, f"{FIRST_LINE}{text}{LAST_LINE}")


def _shorten(path: str) -> Path:
    """The path relative to the working directory if it is inside it, else the absolute path."""
    absolute = Path(path).resolve()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _name(overrides: Sequence[str]) -> str:
    """The overrides that affect what is trained, separated by commas."""
    return ",".join(o for o in overrides if not o.startswith(NOT_IN_NAME)) or "default"
