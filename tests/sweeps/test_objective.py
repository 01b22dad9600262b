"""The objective of a trial."""

from __future__ import annotations

import math

import pytest

from gan_lab.sweeps.objective import Objective


def test_objectives_are_final_values_averaged_over_runs() -> None:
    runs = [{"score": "fd_x", "final": {"fd_x": value}, "epoch_seconds": value + 1} for value in (1.0, 4.0)]
    assert Objective("score")(runs) == 2.5
    assert Objective(["fd_x", "epoch_seconds"])(runs) == (2.5, 3.5)
    assert Objective("score")([runs[0], None]) == math.inf
    with pytest.raises(ValueError, match="diverged"):
        Objective(["score", "epoch_seconds"])([None])
