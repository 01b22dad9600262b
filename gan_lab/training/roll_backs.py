"""What happens to a training that has diverged: it ends, or goes back to a checkpoint and goes on with lower learning rates."""

from __future__ import annotations

from dataclasses import dataclass

NOT_FINITE = "not_finite"
"""Name of the alarm that a roll-back leaves in the summary."""


@dataclass(frozen=True)
class RollBacks:
    """How often a diverged training goes back to a checkpoint, and with which learning rates it then goes on.

    Args:
        limit: number of roll-backs in a run, 0 or more; after these a divergence ends it.
        lr_factor: what all learning rates are multiplied by at each of them; in (0, 1).

    Raises:
        ValueError: an argument is out of range.
    """

    limit: int
    lr_factor: float

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or self.limit < 0:
            raise ValueError(f"health.max_roll_backs={self.limit}: must be a whole number, 0 or more")
        if not isinstance(self.lr_factor, int | float) or not 0 < self.lr_factor < 1:
            raise ValueError(f"health.roll_back_lr_factor={self.lr_factor}: must be a number above 0 and below 1")
