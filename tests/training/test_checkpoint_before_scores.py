"""A run that is interrupted during an evaluation loses no step, and the resume evaluates again."""

from __future__ import annotations

import os
import signal
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


@pytest.mark.parametrize("images", every_nth([96, 64, 128], 2))
def test_a_signal_ends_an_evaluation_and_the_resume_evaluates_again(images: int, tmp_path: Path) -> None:
    """In the middle of an epoch, where no checkpoint is due; where one is; and at the end of the training."""
    often = [*RUN, "evaluation.every_kimg=0.032", "evaluation.batch_size=16"]
    whole = RunDirectory(tmp_path / "whole")
    build_trainer(make_job(whole.path, *often)).train()
    run = RunDirectory(tmp_path / "run")
    trainer = build_trainer(make_job(run.path, *often))
    show, batches = trainer.evaluation._show_progress, 0

    def show_and_terminate(done: int, total: int) -> None:
        nonlocal batches
        show(done, total)
        if trainer.progress.images == images:
            batches += 1
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.evaluation._show_progress = show_and_terminate
    with pytest.raises(SystemExit):
        trainer.train()
    state = read_checkpoint(run, "last")
    assert batches == 1 and state["images"] == images and state["pending"][0] == "evaluation"
    assert run.read_summary()["status"] == "interrupted"
    resumed = build_trainer(make_job(run.path, *often), state=state)
    resume(resumed, run.path, state)
    assert resumed.train()["status"] == "finished"
    assert_same(whole, run)
