"""Steps whose gradients are not finite: they are skipped and counted, and when no others are left the run ends or goes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import make_job
from torch import Tensor

from gan_lab.building.trainer import build_trainer, read_checkpoint, resume
from gan_lab.losses.adversarial import HingeDiscriminatorLoss
from gan_lab.losses.base import LossContext
from gan_lab.storage import checkpoint
from gan_lab.training.metric_recorder import TrainingDiverged
from gan_lab.training.trainer import Trainer

LONG = ("epochs=4", "checkpoint.every_kimg=0.064", "log.every_kimg=0.064", "checkpoint.max_time_fraction=1", "evaluation=none")
"""16 iterations of 16 images; a checkpoint and a row every fourth."""


def build(path: Path, *overrides: str) -> Trainer:
    return build_trainer(make_job(path / "run", *LONG, *overrides))


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trainer, Callable[[Trainer], bool]], None]:
    """Multiplies the discriminator's loss by infinity in the iterations for which a function of the trainer returns True."""
    original = HingeDiscriminatorLoss.__call__

    def start(trainer: Trainer, when: Callable[[Trainer], bool]) -> None:
        def loss(self: HingeDiscriminatorLoss, context: LossContext) -> Tensor:
            return original(self, context) * (float("inf") if when(trainer) else 1.0)

        monkeypatch.setattr(HingeDiscriminatorLoss, "__call__", loss)

    return start


def test_single_steps_without_finite_gradients_are_skipped_and_reported(
    tmp_path: Path, poison: Callable[[Trainer, Callable[[Trainer], bool]], None]
) -> None:
    trainer = build(tmp_path, "optimizer=rmsprop")
    poison(trainer, lambda t: t.progress.iteration in (5, 6))
    assert trainer.train()["status"] == "finished"
    rows = [row for row in trainer.records.directory.history() if "d/loss" in row]
    assert [row.get("d/skipped_steps") for row in rows] == [None, 0.5, None, None], "2 of the 4 steps of the second row"
    assert all(value is not None for row in rows for value in row.values()), "means are over the other steps"
    (alarm,) = trainer.monitor.alarms
    assert alarm.alarm == "skipped_steps" and "50% of the steps of d were skipped" in alarm.text and alarm.over == 192
    assert trainer.updater.has_finite_weights()


def test_an_overflow_in_a_forward_pass_does_not_stay_in_running_statistics(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    generator = trainer.updater.gan.generator
    batches = trainer.loader.batches()
    trainer.step(next(batches))
    before = {name: value.clone() for name, value in generator.state_dict().items() if "running" in name}
    assert before
    weight = next(p for p in generator.parameters() if p.dim() == 4)
    held = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(3e38)
    trainer.step(next(batches))
    assert trainer.updater.skipped_in_a_row() == 1
    after = generator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    with torch.no_grad():
        weight.copy_(held)
    trainer.step(next(batches))
    assert trainer.updater.skipped_in_a_row() == 0
    assert all(value.isfinite().all() for value in trainer.updater.ema.network.state_dict().values())


def test_a_training_without_finite_gradients_ends_with_its_last_good_checkpoint(
    tmp_path: Path, poison: Callable[[Trainer, Callable[[Trainer], bool]], None]
) -> None:
    trainer = build(tmp_path, "health.max_skipped_steps=6")
    poison(trainer, lambda t: t.progress.iteration >= 5)
    with pytest.raises(TrainingDiverged, match="of d the latest 7 steps were skipped, because their gradients were not finite"):
        trainer.train()
    run = trainer.records.directory
    assert run.read_summary()["status"] == "diverged" and run.read_summary()["images"] == 192
    assert checkpoint.load(run.checkpoint("last"))["images"] == 64, "those at 128 and 192 images would lead nowhere"


def test_all_steps_of_the_last_row_being_skipped_is_a_divergence(
    tmp_path: Path, poison: Callable[[Trainer, Callable[[Trainer], bool]], None]
) -> None:
    trainer = build(tmp_path)
    poison(trainer, lambda t: t.progress.iteration >= 12)
    with pytest.raises(TrainingDiverged, match="the latest 4 steps"):
        trainer.train()


def test_a_diverged_run_goes_back_and_goes_on_with_lower_rates(
    tmp_path: Path, poison: Callable[[Trainer, Callable[[Trainer], bool]], None]
) -> None:
    """Not finite from the ninth iteration on, until the rates are a quarter: back once, then once further."""
    options = ("health.max_skipped_steps=4", "health.on_divergence=roll_back", "optimizer.lr=0.001")
    trainer = build(tmp_path, *options)
    poison(trainer, lambda t: t.progress.iteration >= 8 and t.updater.lr_factor > 0.3)
    summary = trainer.train()
    assert summary["status"] == "finished" and summary["other_seconds"]["rolled back"] > 0
    alarms = trainer.monitor.alarms
    assert [(alarm.alarm, alarm.images) for alarm in alarms if alarm.alarm == "not_finite"] == [("not_finite", 192)] * 2
    run = trainer.records.directory
    rows = [row for row in run.history() if "d/loss" in row]
    assert [row["images"] for row in rows] == [64, 128, 192, 256], "the abandoned rows are gone"
    assert [row["d/learning_rate"] for row in rows] == [0.001, 0.00025, 0.00025, 0.00025]
    assert not any("d/skipped_steps" in row for row in rows)
    assert json.loads(run.summary.read_text())["alarms"] == summary["alarms"]
    assert run.final.read_bytes() == run.sample_grid(256).read_bytes()


def test_the_lower_rates_last_over_a_resume(
    tmp_path: Path, poison: Callable[[Trainer, Callable[[Trainer], bool]], None]
) -> None:
    options = ("health.max_skipped_steps=4", "health.on_divergence=roll_back", "health.max_roll_backs=1")
    trainer = build(tmp_path, *options)
    poison(trainer, lambda t: t.progress.iteration >= 8)
    with pytest.raises(TrainingDiverged):
        trainer.train()
    run = trainer.records.directory
    assert run.read_summary()["status"] == "diverged"
    state = read_checkpoint(run, "last")
    assert (state["images"], state["lr_factor"]) == (128, 0.5)
    resumed = build(tmp_path / "other", *options)
    poison(resumed, lambda t: False)
    resume(resumed, run.path, state)
    assert resumed.train()["status"] == "finished"
    rows = [row for row in resumed.records.directory.history() if "d/loss" in row]
    assert {row["d/learning_rate"] for row in rows} == {0.0005}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("health.on_divergence=restart", "health.on_divergence=restart: must be stop or roll_back"),
        ("health.max_skipped_steps=0", "health.max_skipped_steps=0: must be a whole number of steps, at least 1"),
        ("health.max_roll_backs=-1", "health.max_roll_backs=-1: must be a whole number, 0 or more"),
        ("health.roll_back_lr_factor=1", "health.roll_back_lr_factor=1: must be a number above 0 and below 1"),
        ("health.skipped_steps.fraction=1", "fraction=1 and scaled_fraction=0.5 must be in"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tmp_path, override)
