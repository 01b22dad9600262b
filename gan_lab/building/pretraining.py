"""From a configuration to what a generator has learnt before the game."""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lab.config import instantiate
from gan_lab.models.upscaler import Upscaler
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.loss_context import GAN
from gan_lab.training.phase import Phase
from gan_lab.training.precision import Precision
from gan_lab.training.pretraining import Pretraining

log = logging.getLogger(__name__)

OF_ANOTHER = ("last", "best", "pretrained")


def build_pretraining(cfg: DictConfig, game: GAN, precision: Precision, total_images: int) -> Pretraining:
    """The first stage. A length in shares of the training is entered into the configuration in images, for resumes."""
    section = cfg.pretraining
    if not section.terms:
        return Pretraining()
    if not isinstance(game.generator, Upscaler):
        raise ValueError(
            "pretraining=pixels: a generator that draws from latents has no image it should have drawn; choose none"
        )
    if section.kimg is None:
        if not 0 < section.share <= 1:
            raise ValueError(f"pretraining.share={section.share}: a share of the training, above 0 and at most 1")
        section.kimg = section.share * total_images / 1000
    elif section.kimg <= 0:
        raise ValueError(f"pretraining.kimg={section.kimg}: must be positive; pretraining=none goes without")
    end = math.ceil(round(section.kimg * 1000) / cfg.batch_size) * cfg.batch_size
    section.kimg = end / 1000
    terms = {str(name): instantiate(node, f"pretraining.terms.{name}") for name, node in section.terms.items()}
    if all(term.every > 1 for term in terms.values()):
        raise ValueError("pretraining.terms: nothing to minimise in every step")
    phase = Phase(
        "pretraining",
        game.generator,
        game.discriminator,
        instantiate(section.optimizer, "pretraining.optimizer")(game.generator.parameters()),
        terms,
        (),
        precision,
        num_micro_batches=cfg.accumulate,
        max_grad_norm=cfg.gradient_clip,
    )
    return Pretraining([phase], min(end, total_images))


def load_initial_weights(cfg: DictConfig, game: GAN) -> None:
    """Give new networks the weights of a run, or of a file as BasicSR publishes them, if the configuration names any.

    Raises:
        ValueError: there is no such run, checkpoint or file, or it holds another network.
    """
    section = cfg.pretraining
    if OmegaConf.is_missing(section, "run"):
        raise ValueError(
            "pretraining=run: of which one? pretraining.run=outputs/..., or a file of weights, pretraining.run=a.pth"
        )
    if section.run is None:
        return
    path = Path(section.run).expanduser()
    if path.is_file():
        section.run = str(path.absolute())
        return _load(game.generator, _published(path), section.run)
    if section.checkpoint not in OF_ANOTHER:
        raise ValueError(f"pretraining.checkpoint={section.checkpoint}: must be one of {', '.join(OF_ANOTHER)}")
    directory = RunDirectory.find(section.run)
    section.run = str(directory.path.absolute())  # latest is another one next time
    state = checkpoint.load(directory.checkpoint(section.checkpoint))
    _load(game.generator, state["average"], f"pretraining.run={section.run}")
    if section.discriminator:
        _load(game.discriminator, state["discriminator"], f"pretraining.run={section.run}")


def _published(path: Path) -> Mapping[str, Any]:
    """The tensors of a file: bare, or below ``params_ema`` or ``params``."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"pretraining.run={path} is neither a run nor a file of weights ({reason})") from error
    if not isinstance(state, dict):
        raise ValueError(f"pretraining.run={path} holds no weights")
    return next((state[key] for key in ("params_ema", "params") if isinstance(state.get(key), dict)), state)


def _load(network: nn.Module, state: Mapping[str, Any], where: str) -> None:
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{where} holds another network than model=... describes ({reason})") from error
    log.info("begins with the weights of %s", where)
