"""Files written in a thread: the state of the moment, and errors that are not lost."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from helpers import make_job

from gan_lab.building.trainer import build_trainer
from gan_lab.storage import checkpoint
from gan_lab.storage.background import BackgroundWriter, copy_to_host


def test_a_copy_does_not_change_with_its_original() -> None:
    weight = torch.ones(3)
    layer = torch.nn.BatchNorm1d(2)
    state = {"a": weight, "same": weight, "list": [weight * 2, (1, "x")], "empty": torch.zeros(0), "layer": layer.state_dict()}
    held, wait = copy_to_host(state)
    weight.zero_()
    state["list"].append(3)  # type: ignore[attr-defined]
    wait()
    assert torch.equal(held["a"], torch.ones(3)) and held["same"] is held["a"], "one file entry, as before"
    assert torch.equal(held["list"][0], torch.full((3,), 2.0)) and held["list"][1:] == [(1, "x")]
    assert isinstance(held["layer"], OrderedDict) and held["layer"]._metadata == layer.state_dict()._metadata  # type: ignore[attr-defined]


def test_one_is_written_at_a_time_and_an_error_is_raised_once() -> None:
    writer, may_end, order = BackgroundWriter(), threading.Event(), []

    def slow() -> None:
        may_end.wait(10)
        order.append("first")

    def fail() -> None:
        order.append("second")
        raise OSError("no space left")

    writer.start(slow)
    threading.Timer(0.05, may_end.set).start()
    writer.start(fail)
    with pytest.raises(OSError, match="no space left"):
        writer.start(lambda: order.append("third"))
    writer.start(lambda: order.append("fourth"))
    writer.wait()
    assert order == ["first", "second", "fourth"]


def test_no_thread_is_started_later_when_memory_may_be_short(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, written = BackgroundWriter(), []

    def start(self: threading.Thread) -> None:
        raise AssertionError("a thread that runs out of memory before it has begun would be waited for for ever")

    monkeypatch.setattr(threading.Thread, "start", start)
    for number in range(3):
        writer.start(lambda number=number: written.append(number))  # type: ignore[misc]
    writer.wait()
    assert written == [0, 1, 2]


@pytest.mark.parametrize("failing", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_checkpoint_that_can_not_be_written_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """In the middle of a training (2) and at its end (3); the earlier checkpoint stays."""
    trainer = build_trainer(make_job(tmp_path, "epochs=2", "evaluation=none"))
    save, count = checkpoint.save, 0

    def sometimes(path: Path, state: object) -> None:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError(28, "No space left on device", str(path))
        save(path, state)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", sometimes)
    with pytest.raises(ValueError, match=r"last.pt: No space left on device. When that is mended, .* resume=.* goes on"):
        trainer.train()
    assert trainer.records.directory.read_summary()["status"] == "failed"
    per_epoch = trainer.progress.images_per_epoch
    assert checkpoint.load(trainer.records.directory.checkpoint("last"))["images"] == (failing - 2) * per_epoch
