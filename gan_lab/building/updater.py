"""Builds the updater, which performs one training iteration."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from gan_lab.building import compute
from gan_lab.building.phases import build_phases
from gan_lab.building.pretraining import build_pretraining
from gan_lab.building.schedule import build_growth, build_learning_rate_schedule
from gan_lab.building.scheduled_values import build_scheduled_values
from gan_lab.config import instantiate
from gan_lab.iteration.cuda_graphs import CUDAGraphs
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.metric_averager import MetricAverager
from gan_lab.iteration.precision import Precision
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.updater import GANUpdater

log = logging.getLogger(__name__)


def build_updater(cfg: DictConfig, gan: GAN, precision: Precision, progress: TrainingProgress, resolution: int) -> GANUpdater:
    """The updater of a GAN, with phases, growth, schedule, EMA and pretraining; ``resolution``: of the images in pixels."""
    phases = build_phases(cfg, gan, precision)
    ema = instantiate(cfg.ema, "ema", generator=gan.generator)
    pretraining = build_pretraining(cfg, gan, precision, progress.total_images)
    updater = GANUpdater(
        gan,
        phases=phases,
        growth=build_growth(cfg, gan, progress, resolution),
        schedule=build_learning_rate_schedule(cfg),
        ema=ema,
        pretraining=pretraining,
        averager=MetricAverager(precision.device),
        scheduled=build_scheduled_values(cfg, gan, phases, ema, pretraining.images_after(progress.total_images)),
    )
    if cfg.capture == "auto" and precision.device.type == "cuda":
        if reason := compute.why_not_captured(cfg, gan, updater.all_phases):
            log.warning("capture=auto: iterations are not captured as CUDA graphs, because %s", reason)
        else:
            updater.capture(CUDAGraphs(precision.device, [gan.rng, *precision.generators]))
    return updater
