"""Builds the monitoring of a run: checks that raise alarms, and the overfitting estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.iteration.gan import GAN
from gan_lab.training.monitor import AlarmListener, TrainingMonitor
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.training.roll_backs import RollBacks


def build_monitor(cfg: DictConfig, score: str | None, notify: AlarmListener) -> TrainingMonitor:
    """The monitor with the checks of ``cfg.health``, each of which is a section with a ``_target_``.

    Args:
        cfg: with ``health``.
        score: name of the run's primary score, or None.
        notify: called for each alarm.
    """
    section = cfg.health
    checks = {str(name): instantiate(node, f"health.{name}") for name, node in section.items() if isinstance(node, Mapping)}
    restore_best = section.get("restore_best", False)  # runs of older versions have no such key
    if not isinstance(restore_best, bool):
        raise ValueError(f"health.restore_best={restore_best}: must be true or false")
    stop_at = [section.stop_at] if isinstance(section.stop_at, str) else section.stop_at or []
    return TrainingMonitor(checks, score, stop_at, restore_best, notify)


def build_roll_backs(cfg: DictConfig) -> RollBacks:
    """What follows a divergence, according to ``cfg.health``; runs of older versions have no such keys and stop."""
    if (action := cfg.health.get("on_divergence", "stop")) not in ("stop", "roll_back"):
        raise ValueError(f"health.on_divergence={action}: must be stop or roll_back")
    roll_backs = RollBacks(cfg.health.get("max_roll_backs", 0), cfg.health.get("roll_back_lr_factor", 0.5))
    return roll_backs if action == "roll_back" else replace(roll_backs, limit=0)


def max_skipped_steps(cfg: DictConfig) -> int:
    """How many steps of a network may be skipped in a row before the training has diverged."""
    count = cfg.health.get("max_skipped_steps", 50)
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"health.max_skipped_steps={count}: must be a whole number of steps, at least 1")
    return count


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
