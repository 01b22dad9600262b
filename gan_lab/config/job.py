"""One training as the command line asks for it: a new run, or one to be resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.schema import check
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory

FIXED_ON_RESUME = (
    "model",
    "conditioning",
    "dataset",
    "seed",
    "batch_size",
    "ema",
    "sample.count",
    "sample.columns",
    "sample.scale",
    "augment.ada.p",
    "degradation",
    "pretraining",
    "initial_weights",
)
"""What a checkpoint is made of; a run with other values is another run."""

FREE_ON_RESUME = ("dataset.path", "dataset.root", "dataset.num_workers", "dataset.max_corrupt_fraction")
"""But for these: where the same images lie, and how they are read. The checkpoint knows how many there were."""

PATHS = ("paths.data", "paths.weights", "dataset.root", "dataset.path", "evaluation.reals")
"""Stored absolute, so that a run goes on from any working directory."""

BASE_CONFIG = "config"
"""Whose defaults list names the groups; the benchmark's includes it."""

RESUMING = ("resume", "resume_from")
"""Keys of one command line alone; never stored."""

NOT_TOLD = ("console", "tracker", "seeds=", "study.", "pruner", "sweep=", "hydra.")
"""Overrides that say nothing of what is trained."""

OF_ALL_DEGRADATIONS = tuple(f"degradation.{key}=" for key in ("scale", "patch", "patches", "random_flip_rot", "preview"))
"""Values that stay where one degradation is exchanged for another: networks are built for them."""

EVALUATED = ("evaluation", "degradation", "protocol", "features", "dataset", "paths", "device", "console")
"""What of a run's configuration an evaluation of it may exchange."""


@dataclass(frozen=True)
class Job:
    """One training as Hydra hands it over.

    Attributes:
        cfg: the resolved configuration.
        choices: the option chosen of each group.
        overrides: single values given on the command line, from the first start of the run on.
        directory: the run's.
        name: what was given, as one word.
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


def prepend_resumed_overrides(arguments: Sequence[str]) -> list[str]:
    """A command line that resumes a run, with the run's own choices and values put before the new ones.

    Hydra then composes what the run was composed from, whatever the defaults have become, and knows all of its keys.

    Raises:
        ValueError: the run can't be read, or a whole group of it would be exchanged.
    """
    named = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not named or named[-1] in ("", "null"):
        return list(arguments)
    stored = _read_current(named[-1])
    flags = [a for a in arguments if a.startswith("-")]
    given = [a for a in arguments if not a.startswith("-")]
    if {"-m", "--multirun"} & set(flags):
        raise ValueError("resume goes on with one run: it can't be combined with a multirun")
    for override in given:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if key in stored.choices:
            raise ValueError(
                f"resume: {override} would exchange a whole group of a run under way; single values of it may change"
            )
    return [*flags, *_stored(stored), *given]


def prepend_run_overrides(arguments: Sequence[str]) -> list[str]:
    """A command line that evaluates a run, with the run's own choices and values put before those given."""
    named = [a.partition("=")[2] for a in arguments if a.startswith("run=")]
    if not named or named[-1] in ("", "null"):
        return list(arguments)
    stored = _read_current(named[-1])
    flags = [a for a in arguments if a.startswith("-")]
    given = [a for a in arguments if not a.startswith("-")]
    chosen = {a.partition("=")[0] for a in given} & set(stored.choices)  # values of what is exchanged as a whole go with it
    kept = [
        a
        for a in _stored(stored)
        if a.partition("=")[0] in stored.choices or a.partition(".")[0] not in chosen or a.startswith(OF_ALL_DEGRADATIONS)
    ]
    return [*flags, *kept, *given]


def open_evaluation(cfg: DictConfig) -> DictConfig:
    """What ``gan_lab.evaluate`` was asked for; of a run its own configuration with what the command line changes in it.

    Raises:
        ValueError: something is changed that the run is made of.
    """
    task = HydraConfig.get().overrides.task
    if cfg.run is None:
        if cfg.fakes is not None and (
            named := [o for o in task if o.startswith(("evaluation.num_", "protocol.")) and ".num_" in o]
        ):
            raise ValueError(f"{named[0]}: of folders all images are taken")
        return resolve_and_validate(cfg, task)
    stored = read_config(RunDirectory.find(cfg.run))
    merged = OmegaConf.merge(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in stored]), stored)
    assert isinstance(merged, DictConfig)
    known = set(_stored(stored))
    changed, gone = _differences(stored, cfg, [override for override in task if override not in known])
    for key in [*gone, *changed]:
        if key.partition(".")[0] in stored and key.partition(".")[0] not in EVALUATED:
            raise ValueError(f"{key}: an evaluation takes the run as it is; it may exchange {', '.join(EVALUATED)}")
    for key in gone:
        _remove(merged, key)
    for key, value in changed.items():
        OmegaConf.update(merged, key, value, force_add=True)
    return resolve_and_validate(merged, task)


def _read_current(path: str) -> DictConfig:
    """A run's configuration, if this version can go on with it."""
    directory = RunDirectory.find(path)
    stored = read_config(directory)
    if "degradation" not in stored.choices:
        raise ValueError(f"{directory.path} was trained by an earlier version of gan_lab, whose runs this one can't read")
    return stored


def _remove(cfg: DictConfig, key: str) -> None:
    """Take a key away, and every section that is empty without it."""
    parent, _, name = key.rpartition(".")
    section = OmegaConf.select(cfg, parent)
    section.pop(name)
    if not section and "." in parent:
        _remove(cfg, parent)


def open_job(cfg: DictConfig) -> Job:
    """Settle the configuration and the directory of the job Hydra is running: a new run, or one to be resumed."""
    hydra = HydraConfig.get()
    choices = _choices(hydra)
    multirun = hydra.mode == RunMode.MULTIRUN
    for key, several in (("sweep", choices.get("sweep") is not None), ("seeds", cfg.seeds != 1)):
        if several and not multirun and cfg.resume is None:
            raise ValueError(f"{key}={choices.get(key, cfg.get(key))} is of several runs: add -m")
    task = [o for o in hydra.overrides.task if o.partition("=")[0] not in RESUMING]
    given = tuple(o for o in task if o.lstrip("+~").partition("=")[0].partition("@")[0] not in choices)
    folder = Path(hydra.sweep.dir) if multirun else None
    if cfg.resume is None:
        cfg = resolve_and_validate(cfg, given)
        return Job(cfg, choices, given, RunDirectory(_from_here(hydra.runtime.output_dir)), _name(task), folder, resumed=False)
    directory = RunDirectory.find(cfg.resume)
    stored = read_config(directory)
    new = given[len(stored.overrides) :]
    merged = resolve_and_validate(_changed(stored, cfg, new, directory), new)
    name = directory.read_summary().get("name") or directory.path.name
    return Job(merged, dict(stored.choices), given, directory, name, folder, resumed=True)


def jobs_per_seed(job: Job) -> list[Job]:
    """The runs of a job with ``seeds``: itself, or one with each seed, each in a folder of its own."""
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
    """What ``group=name`` would put into the default experiment."""
    return compose(BASE_CONFIG, overrides=[f"{group}={name}"])[group]


def _choices(hydra: Any) -> dict[str, Any]:
    """The option of each group, or the list of them. Hydra's own record leaves lists out, its defaults list does not."""
    choices = {str(name): choice for name, choice in hydra.runtime.choices.items() if "/" not in str(name)}
    loader = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(hydra.job.config_name, list(hydra.overrides.task), RunMode.RUN).defaults
    lists: dict[str, list[str]] = {}
    for default in defaults:
        group, _, option = (default.config_path or "").rpartition("/")
        if default.parent == BASE_CONFIG and group and "/" not in group and group not in choices:
            lists.setdefault(group, []).append(option)
    return choices | lists


def resolve_and_validate(cfg: DictConfig, given: Sequence[str]) -> DictConfig:
    """Resolve and check a configuration."""
    named = {override.lstrip("+").partition("=")[0] for override in given} & {"epochs", "kimg"}
    if len(named) == 2:
        raise ValueError("epochs and kimg both say how long to train: give one of them")
    if named == {"epochs"}:
        cfg.kimg = None  # what the command line names wins over what a file or the past says
    OmegaConf.resolve(cfg)
    for key in PATHS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and (key != "dataset.path" or Path(value).expanduser().exists()):  # or a name on a hub
            OmegaConf.update(cfg, key, str(Path(value).expanduser().absolute()))
    check(cfg)
    return cfg


def _changed(stored: DictConfig, composed: DictConfig, new: Sequence[str], directory: RunDirectory) -> DictConfig:
    """The stored configuration with what ``new`` changes in it."""
    cfg = OmegaConf.masked_copy(stored, [str(key) for key in stored if key not in ("choices", "overrides")])
    changed, gone = _differences(stored, composed, new)
    for key, value in changed.items():
        if key in RESUMING:
            continue
        fixed = any(key == f or key.startswith(f"{f}.") for f in FIXED_ON_RESUME) and key not in FREE_ON_RESUME
        if fixed and value != OmegaConf.select(stored, key):
            raise ValueError(
                f"resume: {key} belongs to what {directory.path} has learnt and can't become {value}; start a new run for it"
            )
        OmegaConf.update(cfg, key, value)
    if gone:
        raise ValueError(f"resume: {', '.join(gone)} can't be taken from a run under way; start a new run without")
    cfg.resume, cfg.resume_from = composed.resume, composed.resume_from
    return cfg


def _differences(stored: DictConfig, composed: DictConfig, new: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What ``new`` changes, by dotted key, and what it takes away.

    Found by composing without it: a value others refer to changes those too, while defaults that have moved since the run began
    stay as the run had them.
    """
    before = flatten_config(compose(HydraConfig.get().job.config_name, overrides=_stored(stored)))
    after = flatten_config(composed)
    named = {override.lstrip("+~").partition("=")[0] for override in new}
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value or key in named}
    return changed, sorted(before.keys() - after.keys())


def _stored(stored: DictConfig) -> list[str]:
    """The command line a run was composed from."""
    choices = (f"{group}={format_choice(choice)}" for group, choice in stored.choices.items() if choice is not None)
    return [*choices, *stored.overrides]


def format_choice(choice: Any) -> str:
    """An option, or a list of them, as the command line has it."""
    if OmegaConf.is_list(choice) or isinstance(choice, list):
        return f"[{','.join(map(str, choice))}]"
    return str(choice)


def _from_here(path: str) -> Path:
    """``path`` relative to the working directory if it lies in it: shorter to read, and what one types to resume."""
    absolute = Path(path).resolve()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _name(overrides: Sequence[str]) -> str:
    """What sets the run apart from the default experiment, without what only concerns where its words go."""
    return ",".join(o for o in overrides if not o.startswith(NOT_TOLD)) or "default"


def flatten_config(cfg: Any, prefix: str = "") -> dict[str, Any]:
    """Resolved values by dotted key; lists count as values."""
    plain = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
    if not isinstance(plain, Mapping) or not plain:
        return {prefix: plain}
    return {k: v for key, value in plain.items() for k, v in flatten_config(value, f"{prefix}.{key!s}".lstrip(".")).items()}


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
    if (
        not isinstance(cfg, DictConfig)
        or "model" not in cfg
        or not OmegaConf.is_list(cfg.get("overrides"))
        or not OmegaConf.is_dict(cfg.get("choices"))
    ):
        raise ValueError(f"{directory.config} is not the configuration of a run")
    return cfg


def write_config(job: Job) -> None:
    """Write ``config.yaml``, which makes the directory this run's own.

    Raises:
        ValueError: a new run would overwrite another one.
    """
    cfg = OmegaConf.to_container(job.cfg)
    assert isinstance(cfg, dict)
    kept = {key: value for key, value in cfg.items() if key not in RESUMING}
    text = OmegaConf.to_yaml(OmegaConf.create({"choices": job.choices, "overrides": list(job.overrides), **kept}))
    if job.resumed:
        return write_atomically(job.directory.config, text)
    job.directory.path.mkdir(parents=True, exist_ok=True)
    try:
        with job.directory.config.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise ValueError(
            f"{job.directory.path} already holds a run: resume={quote(str(job.directory.path))} goes on with it"
        ) from None
