"""Loads initial weights from another run or from a published file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lab.iteration.gan import GAN
from gan_lab.models.published import OBJECTS, find_networks
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import CHECKPOINTS, RunDirectory
from gan_lab.storage.safe_load import load_tensors

log = logging.getLogger(__name__)


PICKLE_HINT = (
    ". A pickle of objects runs code when it is read. In its authors' repository this command makes a file of tensors: "
    "python -c \"import pickle, torch; saved = pickle.load(open('{name}', 'rb')); "
    "torch.save({{key: saved[key].state_dict() for key in ('G', 'D', 'G_ema')}}, '{stem}.pt')\""
)
"""Added to the message about a file that NVIDIA's or R3GAN's code has pickled."""


def load_initial_weights(cfg: DictConfig, gan: GAN) -> None:
    """Load the weights of ``cfg.initial_weights.path``, if any: those of a run directory, or of a file of tensors.

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
    networks = _of_file(section, path) if path.is_file() else _of_run(section)
    where = f"initial_weights.path={section.path}"
    for name, state in networks.items():
        if name == "generator" or section.discriminator:
            _load(getattr(gan, name), state, where)
    if section.discriminator and "discriminator" not in networks:
        raise ValueError(f"{where}: the file holds no discriminator; leave out initial_weights.discriminator, or give its file")
    log.info("initial weights: %s", where)


def _of_run(section: DictConfig) -> Mapping[str, Mapping[str, Any]]:
    if section.checkpoint not in CHECKPOINTS:
        raise ValueError(f"initial_weights.checkpoint={section.checkpoint}: must be one of {', '.join(CHECKPOINTS)}")
    directory = RunDirectory.find(section.path)
    section.path = str(directory.path.absolute())  # a resume must not resolve ``latest`` again
    state = checkpoint.load(directory.checkpoint(section.checkpoint))
    return {"generator": state["generator_ema"], "discriminator": state["discriminator"]}


def _of_file(section: DictConfig, path: Path) -> Mapping[str, Mapping[str, Any]]:
    section.path = str(path.absolute())
    networks = find_networks(_read_file("path", path))
    if not isinstance(section.discriminator, str):
        return networks
    separate = find_networks(_read_file("discriminator", Path(section.discriminator).expanduser()))
    return {**networks, "discriminator": separate.get("discriminator", separate["generator"])}


def _read_file(key: str, path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError(f"initial_weights.{key}={path}: there is no such file")
    try:
        contents = load_tensors(path, "neither a run directory nor a file of weights", stand_ins=OBJECTS)
    except ValueError as error:
        is_pickle = path.suffix in (".pkl", ".pickle")
        hint = PICKLE_HINT.format(name=path.name, stem=path.stem) if is_pickle else ""
        raise ValueError(f"initial_weights.{key}={error}{hint}") from error
    if not isinstance(contents, dict):
        raise ValueError(f"initial_weights.{key}={path}: the file contains no weights")
    return contents


def _load(network: nn.Module, state: Mapping[str, Any], where: str) -> None:
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{where}: these weights do not fit the network of model=... ({reason})") from error
