"""Keys and types of the configurations' top level, and checks of their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from gan_lab.config.allowed_values import check_values, shown_value
from gan_lab.storage.run_directory import check_checkpoint_name

_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if (folder / "config.yaml").is_file())
"""The configuration tree: inside the package in a wheel, next to it in a checkout."""

COMPOSED_OF_TRAINING = ("config", "evaluate", "benchmark")
"""Configurations with the keys of a training."""


@dataclass
class SampleSection:
    """Sample grids."""

    every_kimg: float | None = MISSING
    at_epochs: list[float] | None = MISSING
    count: int = MISSING
    columns: int | None = MISSING
    scale: int = MISSING
    max_time_fraction: float | None = MISSING


@dataclass
class LogSection:
    """Logging of metrics."""

    every_kimg: float | None = MISSING


@dataclass
class CheckpointSection:
    """Checkpoints."""

    every_kimg: float | None = MISSING
    max_time_fraction: float | None = MISSING
    keep: int = MISSING
    keep_every_kimg: float | None = MISSING


@dataclass
class StudySection:
    """The Optuna study of a sweep."""

    name: str | None = MISSING
    storage: str = MISSING
    trials: int = MISSING
    heartbeat: int = MISSING
    trial: int | None = MISSING


@dataclass
class PathsSection:
    """Folders outside the run directory."""

    data: str | None = MISSING
    weights: str | None = MISSING


@dataclass
class Config:
    """Types of ``conf/config.yaml``, which has the values and their meaning."""

    model: Any = MISSING
    discriminator: Any = MISSING
    dataset: Any = MISSING
    optimizer: Any = MISSING
    loss: Any = MISSING
    penalty: Any = MISSING
    conditioning: Any = MISSING
    degradation: Any = MISSING
    augment: Any = MISSING
    precision: Any = MISSING
    schedule: Any = MISSING
    pretraining: Any = MISSING
    initial_weights: Any = MISSING
    perception: Any = MISSING
    ema: Any = MISSING
    evaluation: Any = MISSING
    protocol: Any = MISSING
    features: Any = MISSING
    health: Any = MISSING
    pruner: Any = MISSING
    tracker: Any = MISSING
    epochs: float = MISSING
    kimg: float | None = MISSING
    max_kimg: float | None = MISSING
    max_seconds: float | None = MISSING
    batch_size: int = MISSING
    n_critic: int = MISSING
    gradient_accumulation_steps: int = MISSING
    max_grad_norm: float | None = MISSING
    device: str = MISSING
    seed: int = MISSING
    deterministic: bool = MISSING
    memory_format: str = MISSING
    discriminator_passes: str = MISSING
    reuse_fakes: bool = MISSING
    reuse_reals: bool = MISSING
    compile: str = MISSING
    capture: str = MISSING
    activation_checkpointing: bool = MISSING
    data_memory_fraction: float = MISSING
    num_threads: Any = MISSING
    sync_batch_norm: bool = MISSING
    log: LogSection = MISSING
    sample: SampleSection = MISSING
    checkpoint: CheckpointSection = MISSING
    console: str = MISSING
    preview: bool = MISSING
    plan: bool = MISSING
    seeds: int = MISSING
    objective: Any = MISSING
    constraints: dict[str, float] = MISSING
    study: StudySection = MISSING
    resume: str | None = MISSING
    resume_from: str = MISSING
    resume_data: str = MISSING
    paths: PathsSection = MISSING


@dataclass
class BenchmarkConfig(Config):
    """Types of ``conf/benchmark.yaml``."""

    benchmark: Any = MISSING
    tune: Any = MISSING


@dataclass
class EvaluateConfig(Config):
    """Types of ``conf/evaluate.yaml``."""

    run: str | None = MISSING
    checkpoints: Any = MISSING
    fakes: str | None = MISSING
    reals: str | None = MISSING
    out: str | None = MISSING
    compare: Any = MISSING
    fit_features: bool = MISSING
    fit: Any = MISSING


@dataclass
class ProjectionSection:
    """How ``gan_lab.sample project=`` searches."""

    steps: int = MISSING
    lr: float = MISSING
    candidates: int = MISSING
    starts: int = MISSING
    pixel_weight: float = MISSING


@dataclass
class SampleCommand:
    """Types of ``conf/sample.yaml``."""

    run: str = MISSING
    checkpoint: str = MISSING
    input: str | None = MISSING
    tile: int = MISSING
    count: int | None = MISSING
    classes: Any = MISSING
    seed: int = MISSING
    seeds: Any = MISSING
    truncation: float | None = MISSING
    style_mixing: Any = MISSING
    walk: str | None = MISSING
    keyframes: int = MISSING
    frames: int = MISSING
    fps: float = MISSING
    plane: Any = MISSING
    at: Any = MISSING
    project: str | None = MISSING
    latent: str | None = MISSING
    projection: ProjectionSection = MISSING
    perception: Any = MISSING
    paths: PathsSection = MISSING
    standing_statistics: int | None = MISSING
    out: str | None = MISSING
    overwrite: bool = MISSING
    singles: bool = MISSING
    columns: int | None = MISSING
    show: Any = MISSING
    scale: int = MISSING
    batch_size: int = MISSING
    device: str = MISSING


@dataclass
class ExportCommand:
    """Types of ``conf/export.yaml``."""

    run: str = MISSING
    checkpoint: str = MISSING
    out: str = MISSING
    overwrite: bool = MISSING
    push: str | None = MISSING


@dataclass
class ReportCommand:
    """Types of ``conf/report.yaml``."""

    run: str | None = MISSING
    study: Any = MISSING
    baseline: str | None = MISSING
    runs: Any = MISSING
    out: str = MISSING
    overwrite: bool = MISSING
    serve: bool = MISSING
    port: int = MISSING


@dataclass
class PrepareCommand:
    """Types of ``conf/prepare.yaml``."""

    dataset: Any = MISSING
    seed: int = MISSING
    show: bool = MISSING
    sheet: str | None = MISSING
    paths: PathsSection = MISSING


ConfigStore.instance().store(name="schema", node=Config)
ConfigStore.instance().store(name="sample_schema", node=SampleCommand)
ConfigStore.instance().store(name="export_schema", node=ExportCommand)
ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
ConfigStore.instance().store(name="report_schema", node=ReportCommand)
ConfigStore.instance().store(name="prepare_schema", node=PrepareCommand)
ConfigStore.instance().store(name="benchmark_schema", node=BenchmarkConfig)


MOST_PIXELS = 2 * 10**8
"""Pixels of a sample grid; more take minutes and gigabytes."""


def check(cfg: DictConfig, given: Sequence[str] = ()) -> None:
    """Check the values of a resolved configuration, one by one and together.

    Args:
        cfg: the configuration.
        given: overrides of the command line, for the message.

    Raises:
        ValueError: a value is not allowed; the message has the key, the value and what is allowed.
    """
    check_values(cfg, given)
    if cfg.batch_size % cfg.gradient_accumulation_steps:
        raise ValueError(
            f"gradient_accumulation_steps={cfg.gradient_accumulation_steps}: must divide batch_size={cfg.batch_size}"
        )
    check_checkpoint_name("resume_from", cfg.resume_from)
    _check_grid(cfg)


def _check_grid(cfg: DictConfig) -> None:
    """Raise ValueError if a sample grid would be too large to draw."""
    sample, size = cfg.sample, OmegaConf.select(cfg, "dataset.size")
    if size is None:
        return
    columns = sample.columns or 1
    pixels = -(-sample.count // columns) * columns * (size * sample.scale) ** 2
    if pixels > MOST_PIXELS:
        raise ValueError(
            f"sample.count={sample.count} sample.columns={shown_value(sample.columns)} sample.scale={sample.scale}: with "
            f"dataset.size={size} a grid has {pixels:,} pixels, must be at most {MOST_PIXELS:,}; lower one of them"
        )
