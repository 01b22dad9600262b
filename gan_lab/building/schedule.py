"""Builds what depends on the images seen: the length of a run, growing, the learning rate's schedule, triggers."""

from __future__ import annotations

import math

import torch
from omegaconf import DictConfig, OmegaConf

from gan_lab.config import instantiate
from gan_lab.data.loader import BatchLoader
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.growth import FixedResolution, Growth, ProgressiveGrowing
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.schedule import Schedule
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.runtime.timer import TrainingTimer
from gan_lab.training.callbacks import IntervalTrigger, MilestoneTrigger, TimeLimits, Trigger, Triggers


def build_progress(cfg: DictConfig, loader: BatchLoader, device: torch.device) -> TrainingProgress:
    """The progress of a run at its start. The length of the run is rounded up to whole batches."""
    images = cfg.kimg * 1000 if cfg.kimg is not None else cfg.epochs * loader.images_per_epoch
    if cfg.max_kimg is not None:
        images = min(images, cfg.max_kimg * 1000)
    total_images = math.ceil(round(images) / loader.batch_size) * loader.batch_size
    return TrainingProgress(total_images, loader.images_per_epoch, TrainingTimer(device), cfg.get("max_seconds"))


def build_growth(cfg: DictConfig, gan: GAN, progress: TrainingProgress, resolution: int) -> Growth:
    """How the networks grow. The lengths of the stages are written into ``cfg``, so that a resume with more epochs keeps them.

    Raises:
        ValueError: the model does not support growing, or a value is out of range.
    """
    if "growth" not in cfg.model:
        return FixedResolution(resolution, cfg.batch_size)
    section = cfg.model.growth
    if not isinstance(gan.generator, ProgressiveNetwork):
        raise ValueError("model.growth: this model does not grow; use model=progan")
    growth: ProgressiveGrowing = instantiate(
        section,
        "model.growth",
        resolutions=gan.generator.resolutions,
        batch_size=cfg.batch_size,
        total_images=progress.total_images,
        max_batch_size=min(section.max_batch_size, progress.images_per_epoch),
    )
    section.fade_kimg, section.stable_kimg = growth.fade_kimg, growth.stable_kimg
    return growth


def build_learning_rate_schedule(cfg: DictConfig) -> Schedule:
    """The factor of both learning rates as a function of the training progress."""
    section = OmegaConf.masked_copy(cfg.schedule, [key for key in cfg.schedule if key != "of"])
    return instantiate(section, "schedule")


def build_triggers(cfg: DictConfig, images_per_epoch: int) -> Triggers:
    """When each callback runs; ``every_kimg=null`` means once per epoch."""

    def every(kimg: float | None) -> Trigger:
        return IntervalTrigger(images_per_epoch if kimg is None else kimg * 1000)

    at, kept = cfg.sample.at_epochs, cfg.checkpoint.keep_every_kimg
    return Triggers(
        log=every(cfg.log.every_kimg),
        evaluate=every(cfg.evaluation.every_kimg),
        sample=every(cfg.sample.every_kimg) if at is None else MilestoneTrigger(epoch * images_per_epoch for epoch in at),
        checkpoint=every(cfg.checkpoint.every_kimg),
        kept_checkpoint=MilestoneTrigger([]) if kept is None else every(kept),
    )


def build_time_limits(cfg: DictConfig) -> TimeLimits:
    """The fractions of the training time that callbacks may take; there is no limit for samples at ``sample.at_epochs``.

    Raises:
        ValueError: a fraction is out of range.
    """
    for section in ("evaluation", "sample", "checkpoint"):
        fraction = cfg[section].max_time_fraction
        if fraction is not None and not 0 < fraction <= 1:
            raise ValueError(
                f"{section}.max_time_fraction={fraction}: must be a fraction of the training time in (0, 1], or null"
            )
    return TimeLimits(
        evaluate=cfg.evaluation.max_time_fraction,
        sample=cfg.sample.max_time_fraction if cfg.sample.at_epochs is None else None,
        checkpoint=cfg.checkpoint.max_time_fraction,
    )
