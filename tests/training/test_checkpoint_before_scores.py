"""A run that is interrupted during an evaluation loses no step, and the resume evaluates again."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import assert_same, every_nth, make_job

from gan_lab.building.trainer import build_trainer, read_checkpoint, resume
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer

RUN = ["epochs=2", "log.every_kimg=0.032"]


def interrupt_in_evaluation(trainer: Trainer, images: int, after: bool) -> None:
    """A second signal in or just after the evaluation at ``images`` images."""
    evaluation = trainer.callbacks.events["evaluation"]
    evaluate = evaluation.callback

    def interrupted() -> None:
        if trainer.progress.images != images or after:
            evaluate()
        if trainer.progress.images == images:
            raise KeyboardInterrupt

    evaluation.callback = interrupted


@pytest.mark.parametrize(("images", "after"), every_nth([(64, True), (64, False), (128, True)], 3))
def test_a_run_interrupted_in_its_evaluation_is_resumed_from_there(images: int, after: bool, tmp_path: Path) -> None:
    whole = RunDirectory(tmp_path / "whole")
    build_trainer(make_job(whole.path, *RUN)).train()
    run = RunDirectory(tmp_path / "run")
    trainer = build_trainer(make_job(run.path, *RUN))
    interrupt_in_evaluation(trainer, images, after)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    state = read_checkpoint(run, "last")
    assert state["images"] == images, "no step is lost"
    assert run.read_summary()["status"] == "interrupted"
    resumed = build_trainer(make_job(run.path, *RUN), state=state)
    resume(resumed, run.path, state)
    assert resumed.train()["status"] == "finished"
    assert_same(whole, run)
    assert resumed.records.summary("finished")["best"] == whole.read_summary()["best"]
