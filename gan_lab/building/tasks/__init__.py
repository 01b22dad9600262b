"""Tasks: image synthesis from latents, and super-resolution. All code that does not depend on the task is shared."""

from omegaconf import DictConfig

from gan_lab.building.networks import check_networks
from gan_lab.building.tasks.base import Task
from gan_lab.building.tasks.super_resolution import SuperResolution
from gan_lab.building.tasks.synthesis import Synthesis

__all__ = ["Task", "build_task", "primary_score_name"]


def build_task(cfg: DictConfig) -> Task:
    """The task of a configuration: super-resolution if it has a ``degradation``, else synthesis. No data is read yet.

    Raises:
        ValueError: its networks can't be built, or values don't fit the task.
    """
    task: Task = SuperResolution(cfg) if cfg.degradation.steps else Synthesis(cfg)
    check_networks(cfg)
    return task


def primary_score_name(cfg: DictConfig) -> str | None:
    """Name of the score by which runs of this configuration are compared; None if no score is measured."""
    return build_task(cfg.copy()).training_suite().score_name
