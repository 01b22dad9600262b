"""Trainings that end after a number of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import make_job

from gan_lab.building.trainer import build_trainer, read_checkpoint, resume

LONG = ("epochs=1000", "log.every_kimg=64", "sample.every_kimg=64", "checkpoint.every_kimg=64")


def test_a_training_ends_after_max_seconds_with_all_that_a_regular_end_has(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path / "run", *LONG, "max_seconds=0.05"))
    summary = trainer.train()
    run, progress = trainer.records.directory, trainer.progress
    assert summary["status"] == run.read_summary()["status"] == "finished"
    assert 0 < progress.images < progress.total_images and progress.timer.seconds >= 0.05
    assert summary["final"]["images"] == progress.images == read_checkpoint(run, "last")["images"]
    assert run.final.read_bytes() == run.sample_grid(progress.images).read_bytes()
    with pytest.raises(ValueError, match=r"has already trained .* seconds; set more, such as max_seconds="):
        resume(build_trainer(make_job(tmp_path / "again", *LONG, "max_seconds=0.05")), run.path, read_checkpoint(run, "last"))
    longer = build_trainer(make_job(tmp_path / "longer", "epochs=1000", f"max_seconds={progress.timer.seconds + 0.2}"))
    resume(longer, run.path, read_checkpoint(run, "last"))
    assert longer.train()["images"] > progress.images
