"""One training as the command line describes it: a new run, or one to be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.compose import BASE_CONFIG
from gan_lab.config.resolve import resolve_and_validate
from gan_lab.config.resume import RESUME_KEYS, with_changes
from gan_lab.config.stored_config import read_config
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.version import __version__

NOT_IN_THE_NAME = ("console", "tracker", "seeds=", "study.", "pruner", "sweep=", "hydra.")
"""Overrides that don't describe what is trained."""


@dataclass(frozen=True)
class Job:
    """One training as Hydra starts it.

    Attributes:
        cfg: the resolved configuration.
        choices: the chosen option of each group.
        overrides: single values given on the command line, since the first start of the run.
        directory: the run's.
        name: its overrides, joined.
        folder: of the multirun it belongs to, or None.
        resumed: whether the directory already holds the run.
    """

    cfg: DictConfig
    choices: dict[str, Any]
    overrides: tuple[str, ...]
    directory: RunDirectory
    name: str
    folder: Path | None
    resumed: bool

    @property
    def group(self) -> str | None:
        """Name of the multirun it belongs to."""
        return None if self.folder is None else self.folder.as_posix().removeprefix("multirun/")


def open_job(cfg: DictConfig) -> Job:
    """The job that Hydra is running, with its configuration resolved and its directory chosen.

    Raises:
        ValueError: the configuration is wrong, or the run to resume can't be read.
    """
    hydra = HydraConfig.get()
    choices = _choices(hydra)
    multirun = hydra.mode == RunMode.MULTIRUN
    for key, several in (("sweep", choices.get("sweep") is not None), ("seeds", cfg.seeds != 1)):
        if several and not multirun and cfg.resume is None:
            raise ValueError(f"{key}={choices.get(key, cfg.get(key))} needs several runs: add -m")
    task = [o for o in hydra.overrides.task if o.partition("=")[0] not in RESUME_KEYS]
    given = tuple(o for o in task if o.lstrip("+~").partition("=")[0].partition("@")[0] not in choices)
    folder = Path(hydra.sweep.dir) if multirun else None
    if cfg.resume is None:
        cfg = resolve_and_validate(cfg, given)
        directory = RunDirectory(_shorten(hydra.runtime.output_dir))
        return Job(cfg, choices, given, directory, _name(task), folder, resumed=False)
    directory = RunDirectory.find(cfg.resume)
    stored = read_config(directory)
    new = given[len(stored.overrides) :]
    merged = resolve_and_validate(with_changes(stored, cfg, new, directory), new)
    name = directory.read_summary().get("name") or directory.path.name
    return Job(merged, dict(stored.choices), given, directory, name, folder, resumed=True)


def jobs_per_seed(job: Job) -> list[Job]:
    """A job with ``seeds=N`` as N jobs, each with its own seed and folder; any other job alone."""
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


def option(group: str, name: str) -> Any:
    """The section that ``group=name`` gives in the default configuration."""
    return compose(BASE_CONFIG, overrides=[f"{group}={name}"])[group]


def write_config(job: Job) -> None:
    """Write ``config.yaml``, with which a directory becomes this run's.

    Raises:
        ValueError: a new run would overwrite another one.
    """
    cfg = OmegaConf.to_container(job.cfg)
    assert isinstance(cfg, dict)
    head = {"version": __version__, "choices": job.choices, "overrides": list(job.overrides)}
    text = OmegaConf.to_yaml(OmegaConf.create(head | {key: value for key, value in cfg.items() if key not in RESUME_KEYS}))
    if job.resumed:
        return write_atomically(job.directory.config, text)
    job.directory.path.mkdir(parents=True, exist_ok=True)
    try:
        with job.directory.config.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise ValueError(
            f"{job.directory.path} already holds a run: resume={quote(str(job.directory.path))} continues it"
        ) from None


def _choices(hydra: Any) -> dict[str, Any]:
    """The option of each group, or the list of them. Hydra's own record leaves lists out; its defaults list has them."""
    choices = {str(name): choice for name, choice in hydra.runtime.choices.items() if "/" not in str(name)}
    loader = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(hydra.job.config_name, list(hydra.overrides.task), RunMode.RUN).defaults
    lists: dict[str, list[str]] = {}
    for default in defaults:
        group, _, chosen = (default.config_path or "").rpartition("/")
        if default.parent == BASE_CONFIG and group and "/" not in group and group not in choices:
            lists.setdefault(group, []).append(chosen)
    return choices | lists


def _shorten(path: str) -> Path:
    """``path`` relative to the working directory if it is inside: shorter to read, and to type when resuming."""
    absolute = Path(path).resolve()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _name(overrides: Sequence[str]) -> str:
    """The overrides that describe what is trained, joined."""
    return ",".join(o for o in overrides if not o.startswith(NOT_IN_THE_NAME)) or "default"
