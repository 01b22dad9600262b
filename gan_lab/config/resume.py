"""Resuming: combines a run's stored overrides with new ones, and checks which values may change."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.stored_config import differences, named_config, split_flags, stored_overrides
from gan_lab.storage.run_directory import RunDirectory

FIXED_ON_RESUME = (
    "model",
    "discriminator",
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
"""Keys and sections that can't change when a run is resumed, as its checkpoint depends on them."""

FREE_ON_RESUME = ("dataset.path", "dataset.root", "dataset.num_workers", "dataset.max_corrupt_fraction")
"""Exceptions: where the images are stored and how they are read. They are compared with those of the checkpoint, see
:mod:`gan_lab.building.resumed_data`."""

RESUME_KEYS = ("resume", "resume_from", "resume_data")
"""Keys that are not stored with a run."""


def prepend_resumed_overrides(arguments: Sequence[str]) -> list[str]:
    """Insert a run's stored options and overrides before those of a command line with ``resume=``.

    Hydra then composes the same configuration even if the defaults have changed, and accepts all keys of the run.

    Raises:
        ValueError: the run can't be read, or an option of a group would change.
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
    """The stored configuration with the changes that the overrides ``new`` make in it.

    Raises:
        ValueError: a value can't change, or would be removed.
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
    for key in RESUME_KEYS:
        cfg[key] = composed[key]
    return cfg


def _is_fixed(key: str) -> bool:
    return any(key == f or key.startswith(f"{f}.") for f in FIXED_ON_RESUME) and key not in FREE_ON_RESUME
