"""Builds the monitoring of a run: checks that raise alarms, and the overfitting estimate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.iteration.gan import GAN
from gan_lab.training.monitor import AlarmListener, TrainingMonitor
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate


def build_monitor(cfg: DictConfig, score: str | None, notify: AlarmListener) -> TrainingMonitor:
    """The monitor with the checks of ``cfg.health``, each of which is a section with a ``_target_``.

    Args:
        cfg: with ``health``.
        score: name of the run's primary score, or None.
        notify: called for each alarm.
    """
    section = cfg.health
    checks = {str(name): instantiate(node, f"health.{name}") for name, node in section.items() if isinstance(node, Mapping)}
    if not isinstance(section.roll_back, bool):
        raise ValueError(f"health.roll_back={section.roll_back}: must be true or false")
    stop_at = [section.stop_at] if isinstance(section.stop_at, str) else section.stop_at or []
    return TrainingMonitor(checks, score, stop_at, section.roll_back, notify)


def build_overfitting_estimate(
    cfg: DictConfig, builder: DatasetBuilder, data: ImageDataset, gan: GAN, device: torch.device
) -> OverfittingEstimate | NoOverfittingEstimate:
    """The overfitting estimate on up to ``health.held_out`` held-out images and equally many training images."""
    wanted = cfg.health.held_out
    if not isinstance(wanted, int) or wanted < 0:
        raise ValueError(f"health.held_out={wanted}: must be a number of images; 0 measures no overfitting")
    held_out = find_held_out(cfg, builder, data) if wanted else None
    if held_out is None:
        return NoOverfittingEstimate()
    count = min(wanted, len(data), len(held_out))
    train = data.random_subset(count, cfg.seed)
    return OverfittingEstimate(gan, train, held_out.random_subset(count, cfg.seed), cfg.batch_size, cfg.seed, device)


def find_held_out(cfg: DictConfig, builder: DatasetBuilder, data: ImageDataset) -> ImageDataset | None:
    """Images of the dataset that are not trained on, without downloading any; None if there are none.

    These are the images that ``dataset.limit`` leaves out, or else the ``test`` split if the ``train`` split is trained on.
    """
    if len(data.excluded_index):
        held_out = data.excluded()
    elif builder.split == "train" and "test" in builder.splits:
        try:
            held_out = instantiate(cfg.dataset, "dataset", split="test", limit=None, download=False).load()
        except (ValueError, OSError):  # the test split is not on this machine
            return None
    else:
        return None
    labels = held_out.labels_of(slice(None))
    if cfg.conditioning.labels and labels is not None and labels.dim() == 1:
        held_out = held_out.subset((labels >= 0).numpy())  # the discriminator needs a class
    return held_out if len(held_out) else None
