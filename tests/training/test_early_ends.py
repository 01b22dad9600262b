"""Trainings that end after a number of seconds, or with a score."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import make_job

from gan_lab.building.trainer import build_trainer, read_checkpoint, resume
from gan_lab.storage.run_directory import RunDirectory

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


def test_a_training_ends_when_its_score_has_reached_the_target(tmp_path: Path) -> None:
    options = ("epochs=3", "evaluation.every_kimg=0.064", "evaluation.max_time_fraction=null")
    whole = build_trainer(make_job(tmp_path / "whole", *options)).train()
    name, scores = whole["score"], []
    for row in RunDirectory(tmp_path / "whole").history():
        scores += [(row["images"], row[whole["score"]])] if whole["score"] in row else []
    target = scores[1][1]
    trainer = build_trainer(make_job(tmp_path / "run", *options, f"evaluation.target={target}"))
    summary = trainer.train()
    reached = next(images for images, score in scores if score <= target)
    assert (summary["status"], summary["images"], summary["final"][name]) == ("finished", reached, dict(scores)[reached])
    run = trainer.records.directory
    assert run.final.read_bytes() == run.sample_grid(reached).read_bytes()
    with pytest.raises(ValueError, match=r"has already reached evaluation.target=.*; set a lower one"):
        resume(
            build_trainer(make_job(tmp_path / "again", *options, f"evaluation.target={target}")),
            run.path,
            read_checkpoint(run, "last"),
        )
    with pytest.raises(ValueError, match=r"evaluation.target=5.*: this run measures no score"):
        build_trainer(make_job(tmp_path / "none", "evaluation=none", "evaluation.target=5"))
