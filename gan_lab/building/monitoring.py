"""From a configuration to what watches over a training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.training.loss_context import GAN
from gan_lab.training.monitor import AlarmListener, TrainingMonitor
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate


def build_monitor(cfg: DictConfig, score: str | None, tell: AlarmListener) -> TrainingMonitor:
    """The checks of ``cfg.health``, each a section of its own.

    Args:
        cfg: with ``health``.
        score: name of the run's score, or None.
        tell: told of each alarm.
    """
    section = cfg.health
    checks = {str(name): instantiate(node, f"health.{name}") for name, node in section.items() if isinstance(node, Mapping)}
    if not isinstance(section.roll_back, bool):
        raise ValueError(f"health.roll_back={section.roll_back}: must be true or false")
    stop_at = [section.stop_at] if isinstance(section.stop_at, str) else section.stop_at or []
    return TrainingMonitor(checks, score, stop_at, section.roll_back, tell)


def build_overfitting_estimate(
    cfg: DictConfig, source: DatasetBuilder, data: ImageDataset, game: GAN, device: torch.device
) -> OverfittingEstimate | NoOverfittingEstimate:
    """What tells whether the discriminator overfits: at most ``health.held_out`` images of each kind, as many of all."""
    wanted = cfg.health.held_out
    if not isinstance(wanted, int) or wanted < 0:
        raise ValueError(f"health.held_out={wanted}: a number of images, 0 for none")
    others = find_held_out(cfg, source, data) if wanted else None
    if others is None:
        return NoOverfittingEstimate()
    count = min(wanted, len(data), len(others))
    train, held_out = data.random_subset(count, cfg.seed), others.random_subset(count, cfg.seed)
    return OverfittingEstimate(game, train, held_out, cfg.batch_size, cfg.seed, device)


def find_held_out(cfg: DictConfig, source: DatasetBuilder, data: ImageDataset) -> ImageDataset | None:
    """Images of the data set that are not trained on, if there are any at hand; nothing is downloaded for them.

    What ``dataset.limit`` leaves out; else of a set trained on its ``train`` split the ``test`` split.
    """
    if len(data.excluded_index):
        others = data.excluded()
    elif source.split == "train" and "test" in source.splits:
        try:
            others = instantiate(cfg.dataset, "dataset", split="test", limit=None, download=False).load()
        except (ValueError, OSError):  # it isn't at hand
            return None
    else:
        return None
    labels = others.labels_of(slice(None))
    if cfg.conditioning.labels and labels is not None and labels.dim() == 1:
        others = others.subset((labels >= 0).numpy())  # unlabelled ones can't be judged by class
    return others if len(others) else None
