"""A resume with another length says which values jump."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import make_job

from gan_lab.building.trainer import build_trainer, read_checkpoint, resume
from gan_lab.training.schedule_jump import describe_jumps


def test_a_jump_is_described_with_its_reason_and_what_to_do() -> None:
    before = {"total_images": 100, "d/learning_rate": 1e-6, "g/learning_rate": 1e-6, "augment.blur": 0.0}
    now = {"total_images": 200, "d/learning_rate": 1e-4, "g/learning_rate": 1e-4, "augment.blur": 0.5}
    assert describe_jumps(before, now, 100, ["optimizer.lr"]) == (
        "with 2 epochs instead of 1, which the schedule spans, values jump: d/learning_rate 1e-06 to 0.0001, "
        "g/learning_rate 1e-06 to 0.0001, augment.blur 0 to 0.5; optimizer.lr divided by 100 would go on at the old rate"
    )
    assert describe_jumps(before, {**before, "total_images": 200}, 100, ["optimizer.lr"]) is None
    assert describe_jumps(before, {**now, "total_images": 100}, 100, ["optimizer.lr"]) is None, "the user's own change"
    ended = describe_jumps({**before, "d/learning_rate": 0.0}, now, 100, ["optimizer.lr"])
    assert ended is not None and ended.endswith("optimizer.lr can be lowered for a gentler start")


@pytest.mark.parametrize(("schedule", "jumps"), [("cosine", True), ("constant", False)])
def test_more_epochs_are_compared_with_the_checkpoint(
    schedule: str, jumps: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = [f"schedule={schedule}", "evaluation=none"]
    first = build_trainer(make_job(tmp_path, "epochs=2", *arguments))
    for batch, _ in zip(first.loader.batches(), range(6), strict=False):
        first.updater.update(batch, first.progress)
    first.checkpointer.save("last")
    first.checkpointer.wait()
    for epochs, expected in ((2, False), (20, jumps)):
        caplog.clear()
        state = read_checkpoint(first.records.directory, "last")
        resume(build_trainer(make_job(tmp_path, f"epochs={epochs}", *arguments), state=state), tmp_path, state)
        assert ("values jump: d/learning_rate" in caplog.text) == expected
        assert caplog.text.count("epochs instead of") <= 1
