"""The configuration of ``gan_lab.evaluate``: that of the evaluated run, with changes from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.resolve import resolve_and_validate
from gan_lab.config.stored_config import differences, named_config, read_config, split_flags, stored_overrides
from gan_lab.storage.run_directory import RunDirectory

EXCHANGEABLE = ("evaluation", "degradation", "protocol", "features", "dataset", "paths", "device", "console")
"""Sections and keys of a run's configuration that an evaluation may change."""

SHARED_BY_DEGRADATIONS = tuple(f"degradation.{key}=" for key in ("scale", "patch", "patches", "random_flip_rot", "preview"))
"""Overrides that are kept if another degradation is chosen, since the networks depend on them."""


def prepend_run_overrides(arguments: Sequence[str]) -> list[str]:
    """Insert a run's stored options and overrides before those of a command line with ``run=``."""
    if (stored := named_config(arguments, "run")) is None:
        return list(arguments)
    flags, given = split_flags(arguments)
    exchanged = {a.partition("=")[0] for a in given} & set(stored.choices)
    kept = [
        a
        for a in stored_overrides(stored)
        if a.partition("=")[0] in stored.choices or a.partition(".")[0] not in exchanged or a.startswith(SHARED_BY_DEGRADATIONS)
    ]  # without overrides of a group for which another option is chosen
    return [*flags, *kept, *given]


def open_evaluation(cfg: DictConfig) -> DictConfig:
    """The configuration of an evaluation: with ``run=`` the run's with the changes of the command line, else as composed.

    Raises:
        ValueError: the command line changes a key that an evaluation can't change.
    """
    task = HydraConfig.get().overrides.task
    if cfg.run is None:
        counts = [o for o in task if o.startswith(("evaluation.num_", "protocol.")) and ".num_" in o]
        if cfg.fakes is not None and counts:
            raise ValueError(f"{counts[0]}: of a folder of fakes all images are used")
        return resolve_and_validate(cfg, task)
    stored = read_config(RunDirectory.find(cfg.run))
    merged = OmegaConf.merge(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in stored]), stored)
    assert isinstance(merged, DictConfig)
    known = set(stored_overrides(stored))
    changed, removed = differences(stored, cfg, [override for override in task if override not in known])
    for key in [*removed, *changed]:
        if key.partition(".")[0] in stored and key.partition(".")[0] not in EXCHANGEABLE:
            raise ValueError(f"{key}: an evaluation can't change a trained run; it may exchange {', '.join(EXCHANGEABLE)}")
    for key in removed:
        _remove(merged, key)
    for key, value in changed.items():
        OmegaConf.update(merged, key, value, force_add=True)
    return resolve_and_validate(merged, task)


def _remove(cfg: DictConfig, key: str) -> None:
    """Remove a key, and every section that is empty without it."""
    parent, _, name = key.rpartition(".")
    section = OmegaConf.select(cfg, parent)
    section.pop(name)
    if not section and "." in parent:
        _remove(cfg, parent)
