"""Resuming: the run's own command line before the new one, and which values may change."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.stored_config import differences, named_config, split_flags, stored_overrides
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
"""What a checkpoint consists of: a run with other values is another run."""

FREE_ON_RESUME = ("dataset.path", "dataset.root", "dataset.num_workers", "dataset.max_corrupt_fraction")
"""Exceptions: where the same images are stored, and how they are read. The checkpoint holds their number."""

RESUME_KEYS = ("resume", "resume_from")
"""Keys of a single command line; never stored."""


def prepend_resumed_overrides(arguments: Sequence[str]) -> list[str]:
    """A command line that resumes a run, with the run's own choices and overrides before the new ones.

    Hydra then composes what the run was composed from, even if the defaults have changed, and knows all of its keys.

    Raises:
        ValueError: the run can't be read, or a whole group of it would be exchanged.
    """
    if (stored := named_config(arguments, "resume")) is None:
        return list(arguments)
    flags, given = split_flags(arguments)
    if {"-m", "--multirun"} & set(flags):
        raise ValueError("resume continues a single run: it can't be combined with a multirun")
    for override in given:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if key in stored.choices:
            raise ValueError(f"resume: {override} would exchange a whole group of a started run; only single values may change")
    return [*flags, *stored_overrides(stored), *given]


def with_changes(stored: DictConfig, composed: DictConfig, new: Sequence[str], directory: RunDirectory) -> DictConfig:
    """The stored configuration with the changes that the overrides ``new`` make.

    Raises:
        ValueError: a value can't change, or is removed.
    """
    cfg = OmegaConf.masked_copy(stored, [str(key) for key in stored if key not in ("version", "choices", "overrides")])
    changed, removed = differences(stored, composed, new)
    for key, value in changed.items():
        if key in RESUME_KEYS:
            continue
        if _is_fixed(key) and value != OmegaConf.select(stored, key):
            raise ValueError(f"resume: {key} is part of the trained {directory.path} and can't become {value}; start a new run")
        OmegaConf.update(cfg, key, value)
    if removed:
        raise ValueError(f"resume: {', '.join(removed)} can't be removed from a started run; start a new run")
    cfg.resume, cfg.resume_from = composed.resume, composed.resume_from
    return cfg


def _is_fixed(key: str) -> bool:
    return any(key == f or key.startswith(f"{f}.") for f in FIXED_ON_RESUME) and key not in FREE_ON_RESUME
