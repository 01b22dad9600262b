"""What a generator is for: images out of latents, or large pictures out of small ones. All else of the house is the same."""

from omegaconf import DictConfig

from gan_lab.building.tasks.base import Task
from gan_lab.building.tasks.super_resolution import SuperResolution
from gan_lab.building.tasks.synthesis import Synthesis

__all__ = ["Task", "build_task"]


def build_task(cfg: DictConfig) -> Task:
    """The one a configuration describes: ``degradation`` makes it super-resolution."""
    return SuperResolution(cfg) if cfg.degradation.steps else Synthesis(cfg)
