"""Loads initial weights from another run or from a published file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lab.iteration.gan import GAN
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import CHECKPOINTS, RunDirectory
from gan_lab.storage.safe_load import load_tensors

log = logging.getLogger(__name__)


def load_initial_weights(cfg: DictConfig, gan: GAN) -> None:
    """Load the weights of ``cfg.initial_weights.path``, if any: a run directory, or a generator in BasicSR's file format.

    Raises:
        ValueError: there is no such run, checkpoint or file, or the weights do not fit the network.
    """
    section = cfg.initial_weights
    if OmegaConf.is_missing(section, "path"):
        raise ValueError(
            "initial_weights=run needs a run directory, initial_weights.path=outputs/..., or a file of weights, "
            "initial_weights.path=weights.pth"
        )
    if section.path is None:
        return
    path = Path(section.path).expanduser()
    if path.is_file():
        section.path = str(path.absolute())
        return _load(gan.generator, _read_published(path), section.path)
    if section.checkpoint not in CHECKPOINTS:
        raise ValueError(f"initial_weights.checkpoint={section.checkpoint}: must be one of {', '.join(CHECKPOINTS)}")
    directory = RunDirectory.find(section.path)
    section.path = str(directory.path.absolute())  # a resume must not resolve ``latest`` again
    state = checkpoint.load(directory.checkpoint(section.checkpoint))
    _load(gan.generator, state["generator_ema"], f"initial_weights.path={section.path}")
    if section.discriminator:
        _load(gan.discriminator, state["discriminator"], f"initial_weights.path={section.path}")


def _read_published(path: Path) -> Mapping[str, Any]:
    """The state dictionary in a file, either at the top level or under ``params_ema`` or ``params``."""
    try:
        state = load_tensors(path, "neither a run directory nor a file of weights")
    except ValueError as error:
        raise ValueError(f"initial_weights.path={error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"initial_weights.path={path}: the file contains no weights")
    return next((state[key] for key in ("params_ema", "params") if isinstance(state.get(key), dict)), state)


def _load(network: nn.Module, state: Mapping[str, Any], where: str) -> None:
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{where}: these weights do not fit the network of model=... ({reason})") from error
    log.info("initial weights: %s", where)
