"""Where a run keeps its images: the console says it, and the training result doesn't depend on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import make_job
from transfers import ImmediateTransfer

from gan_lab.building.tasks import synthesis
from gan_lab.building.trainer import build_trainer
from gan_lab.data.placement import choose_placement


def train(path: Path, *overrides: str) -> tuple[str, dict[str, torch.Tensor]]:
    trainer = build_trainer(make_job(path, *overrides))
    trainer.train()
    return trainer.records.info.facts["data"], trainer.updater.gan.generator.state_dict()


@pytest.mark.parametrize(
    "overrides", [["dataset.mirror=true"], pytest.param(["conditioning=projection", "model=sngan"], marks=pytest.mark.slow)]
)
def test_training_is_the_same_for_all_placements(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default_fact, default = train(tmp_path / "default", *overrides)
    choose: Callable[..., object] = partial(choose_placement, transfer=ImmediateTransfer())
    monkeypatch.setattr(synthesis, "choose_placement", choose)
    for fraction, expected in ((0.25, ", on the device (0.1 MiB)"), (0, ", streamed from host memory")):
        fact, weights = train(tmp_path / str(fraction), *overrides, f"data_memory_fraction={fraction}")
        assert fact == default_fact + expected
        assert all(torch.equal(weights[name], value) for name, value in default.items())
