"""From a configuration to what a generator has learnt before the game."""

from __future__ import annotations

import logging
import math

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.models.upscaler import Upscaler
from gan_lab.training.loss_context import GAN
from gan_lab.training.phase import Phase
from gan_lab.training.precision import Precision
from gan_lab.training.pretraining import Pretraining

log = logging.getLogger(__name__)


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
        if not 0 < section.fraction <= 1:
            raise ValueError(f"pretraining.fraction={section.fraction}: a fraction of the training, above 0 and at most 1")
        section.kimg = section.fraction * total_images / 1000
    elif section.kimg <= 0:
        raise ValueError(f"pretraining.kimg={section.kimg}: must be positive; pretraining=none goes without")
    end = math.ceil(round(section.kimg * 1000) / cfg.batch_size) * cfg.batch_size
    section.kimg = end / 1000
    terms = {str(name): instantiate(node, f"pretraining.terms.{name}") for name, node in section.terms.items()}
    if all(term.interval > 1 for term in terms.values()):
        raise ValueError("pretraining.terms: nothing to minimise in every step")
    phase = Phase(
        "pretraining",
        game.generator,
        game.discriminator,
        instantiate(section.optimizer, "pretraining.optimizer")(game.generator.parameters()),
        terms,
        (),
        precision,
        num_micro_batches=cfg.gradient_accumulation_steps,
        max_grad_norm=cfg.max_grad_norm,
    )
    return Pretraining([phase], min(end, total_images))
