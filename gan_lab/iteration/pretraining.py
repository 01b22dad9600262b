"""A first stage that trains the generator alone: SRGAN and ESRGAN start from a generator trained on pixel losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gan_lab.iteration.phase import Phase


@dataclass(frozen=True)
class Pretraining:
    """The first stage of a run; by default there is none.

    Attributes:
        phases: the phases of this stage, which train only the generator.
        end: images after which adversarial training begins; a whole number of batches.
    """

    phases: Sequence[Phase] = ()
    end: int = 0

    def is_active(self, images: int) -> bool:
        """Whether the step that begins after ``images`` images belongs to this stage."""
        return images < self.end

    def ends_between(self, before: int, after: int) -> bool:
        """Whether the step from ``before`` to ``after`` images was the last one of this stage."""
        return before < self.end <= after

    def images_after(self, images: int) -> int:
        """Images of adversarial training, which follows this stage."""
        return max(0, images - self.end)

    def progress(self, images: int, total: int) -> float:
        """Completed fraction of the current stage, in [0, 1). Learning-rate schedules restart with adversarial training."""
        return images / self.end if self.is_active(images) else (images - self.end) / max(1, total - self.end)
