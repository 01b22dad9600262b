"""What a generator learns before it has an opponent: SRGAN and ESRGAN begin with pixels alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gan_lab.training.phase import Phase


@dataclass(frozen=True)
class Pretraining:
    """The first stage of a training; null of those that have none.

    Attributes:
        phases: of that stage, the generator's alone.
        end: images after which the game begins; a whole number of batches.
    """

    phases: Sequence[Phase] = ()
    end: int = 0

    def is_active(self, images: int) -> bool:
        """Whether the step that begins after ``images`` images belongs to it."""
        return images < self.end

    def ends_between(self, before: int, after: int) -> bool:
        """Whether the step from ``before`` to ``after`` images was its last."""
        return before < self.end <= after

    def progress(self, images: int, total: int) -> float:
        """Share of the present stage, in [0, 1): learning rates begin anew with the game."""
        return images / self.end if self.is_active(images) else (images - self.end) / max(1, total - self.end)
