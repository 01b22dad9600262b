"""Training progress. Schedules, growth and callbacks are functions of the real images seen, not of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gan_lab.runtime.timer import TrainingTimer


@dataclass
class TrainingProgress:
    """Images, iterations and seconds of a run so far.

    Attributes:
        total_images: real images at which the training ends.
        images_per_epoch: images in one pass over the dataset.
        timer: seconds of training, without evaluation, sampling and checkpoints.
        max_seconds: of training, after which it ends before ``total_images``; None: no such limit.
        images: real images seen so far, over all processes.
        iteration: training iterations so far.
    """

    total_images: int
    images_per_epoch: int
    timer: TrainingTimer
    max_seconds: float | None = None
    images: int = 0
    iteration: int = 0

    @property
    def finished(self) -> bool:
        return self.images >= self.total_images

    @property
    def time_is_up(self) -> bool:
        return self.max_seconds is not None and self.timer.seconds >= self.max_seconds

    @property
    def epoch(self) -> float:
        return self.images / self.images_per_epoch

    def advance(self, images: int) -> None:
        """Count one iteration over ``images`` images."""
        self.images += images
        self.iteration += 1

    def state_dict(self) -> dict[str, Any]:
        timer = self.timer
        return {
            "images": self.images,
            "iteration": self.iteration,
            "seconds": timer.seconds,
            "other_seconds": dict(timer.other_seconds),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.images, self.iteration, self.timer.seconds = state["images"], state["iteration"], state["seconds"]
        self.timer.other_seconds = dict(state.get("other_seconds", {}))  # checkpoints had no such entry at first
