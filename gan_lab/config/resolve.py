"""Resolves and checks a composed configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.allowed_values import check_sections
from gan_lab.config.scheduled_values import find_scheduled_arguments
from gan_lab.config.schema import check

PATHS = ("paths.data", "paths.weights", "dataset.root", "dataset.path", "evaluation.reals")
"""Stored as absolute paths, so that a run can be resumed from any working directory."""


def resolve_and_validate(cfg: DictConfig, given: Sequence[str]) -> DictConfig:
    """Resolve and check a configuration.

    Args:
        cfg: as composed; changed in place.
        given: overrides of the command line.

    Raises:
        ValueError: both ``epochs`` and ``kimg`` were given, or both lengths of pretraining, or a value is not allowed.
    """
    check_sections(cfg, given)
    named = {override.lstrip("+").partition("=")[0] for override in given} & {"epochs", "kimg"}
    if len(named) == 2:
        raise ValueError("epochs and kimg both say how long to train: give one of them")
    if named == {"epochs"}:
        cfg.kimg = None  # the command line has priority over files and over the resumed run
    _choose_length_of_pretraining(cfg, given)
    find_scheduled_arguments(cfg)
    OmegaConf.resolve(cfg)
    for key in PATHS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and (key != "dataset.path" or Path(value).expanduser().exists()):  # else a name on a hub
            OmegaConf.update(cfg, key, str(Path(value).expanduser().absolute()))
    check(cfg, given)
    return cfg


def _choose_length_of_pretraining(cfg: DictConfig, given: Sequence[str]) -> None:
    """A fraction from the command line has priority over a length in kimg from a file; a resumed run keeps its length."""
    named = {override.lstrip("+").partition("=")[0] for override in given}
    if {"pretraining.fraction", "pretraining.kimg"} <= named and "pretraining.kimg=null" not in given:
        raise ValueError("pretraining.fraction and pretraining.kimg both say how long pretraining is: give one of them")
    if "pretraining.fraction" in named and cfg.get("resume") is None and "kimg" in cfg.pretraining:
        cfg.pretraining.kimg = None
