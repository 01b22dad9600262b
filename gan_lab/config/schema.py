"""What the top level of a configuration may hold, and what no single value can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from gan_lab.directory import RunDirectory

_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if (folder / "config.yaml").is_file())
"""The configuration tree: inside the package in a wheel, beside it in a checkout."""


@dataclass
class Sample:
    """Preview grids."""

    every_kimg: float | None = MISSING
    at_epochs: list[float] | None = MISSING
    count: int = MISSING
    columns: int | None = MISSING
    scale: int = MISSING


@dataclass
class Log:
    """Figures."""

    every_kimg: float | None = MISSING


@dataclass
class Checkpoint:
    """Checkpoints, and which one a resume loads."""

    every_kimg: float | None = MISSING
    resume_from: str = MISSING


@dataclass
class Paths:
    """Folders outside the run directory."""

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


@dataclass
class BenchmarkConfig(Config):
    """Types of ``conf/benchmark.yaml``."""

    kind: Any = MISSING


ConfigStore.instance().store(name="schema", node=Config)
ConfigStore.instance().store(name="benchmark_schema", node=BenchmarkConfig)


def _run_dir(resume: str | None) -> str:
    """Where Hydra puts this job: the run to be resumed, or a new folder (also if there is no such run: see ``open_job``)."""
    if resume is not None and RunDirectory(resume).config.is_file():
        return resume
    return f"outputs/{datetime.now():%Y-%m-%d/%H-%M-%S}"


OmegaConf.register_new_resolver("gan_lab.run_dir", _run_dir, replace=True, use_cache=True)


def check(cfg: DictConfig) -> None:
    """Check what no single field can say.

    Raises:
        ValueError: with the key, its value and what is allowed.
    """
    for key in ("batch_size", "n_critic", "accumulate", "sample.count"):
        if OmegaConf.select(cfg, key) < 1:
            raise ValueError(f"{key}={OmegaConf.select(cfg, key)}: must be at least 1")
    for key in (
        "epochs",
        "kimg",
        "gradient_clip",
        "log.every_kimg",
        "sample.every_kimg",
        "checkpoint.every_kimg",
        "evaluation.every_kimg",
    ):
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
