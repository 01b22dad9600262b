"""Builds pretraining, the first stage of a run, in which the generator is trained without a discriminator."""

from __future__ import annotations

import math

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.gradient_reduction import overlapped_reduction
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.precision import Precision
from gan_lab.iteration.pretraining import Pretraining
from gan_lab.models.upscaler import Upscaler


def build_pretraining(cfg: DictConfig, gan: GAN, precision: Precision, total_images: int) -> Pretraining:
    """The pretraining stage, empty if none is configured. Its length is written into ``cfg`` in kimg, for resumes.

    Raises:
        ValueError: the generator samples from latents, or a length is out of range.
    """
    section = cfg.pretraining
    if not section.terms:
        return Pretraining()
    if not isinstance(gan.generator, Upscaler):
        raise ValueError(
            "pretraining=pixels needs a generator that upscales images; one that samples from latents has no target images. "
            "Use pretraining=none"
        )
    if section.kimg is None:
        if not 0 < section.fraction <= 1:
            raise ValueError(
                f"pretraining.fraction={section.fraction}: must be a fraction of the training, above 0 and at most 1"
            )
        section.kimg = section.fraction * total_images / 1000
    elif section.kimg <= 0:
        raise ValueError(f"pretraining.kimg={section.kimg}: must be positive; use pretraining=none to train without this stage")
    end = math.ceil(round(section.kimg * 1000) / cfg.batch_size) * cfg.batch_size
    section.kimg = end / 1000
    terms = {str(name): instantiate(node, f"pretraining.terms.{name}") for name, node in section.terms.items()}
    if all(term.interval > 1 for term in terms.values()):
        raise ValueError("pretraining.terms: at least one term must be computed in every step (interval=1)")
    phase = Phase(
        "pretraining",
        gan.generator,
        gan.discriminator,
        instantiate(section.optimizer, "pretraining.optimizer")(gan.generator.parameters()),
        terms,
        (),
        precision,
        num_micro_batches=cfg.gradient_accumulation_steps,
        max_grad_norm=cfg.max_grad_norm,
        overlapped_reduction=overlapped_reduction(gan.generator, gan.discriminator, gan.processes, precision.device),
    )
    return Pretraining([phase], min(end, total_images))
