"""Which checkpoints of a run are kept, and that there is a complete newest one at any time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers import make_job

from gan_lab.building.trainer import build_trainer
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory


def write(directory: RunDirectory, images: int, keep: int) -> None:
    checkpoint.shift_newest(directory, keep)
    checkpoint.save(directory.checkpoint("last"), {"images": images})


def stored(directory: RunDirectory) -> dict[str, int]:
    return {name: checkpoint.load(directory.checkpoint(name))["images"] for name in directory.existing_checkpoints()}


@pytest.mark.parametrize("has_links", [True, False])
def test_the_newest_ones_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "this file system has no hard links")

    if not has_links:
        monkeypatch.setattr(os, "link", no_link)
    directory = RunDirectory(tmp_path)
    for images in range(5):
        write(directory, images, keep=3)
    assert stored(directory) == {"last": 4, "last-1": 3, "last-2": 2}
    write(directory, 5, keep=1)
    assert stored(directory) == {"last": 5}
    write(directory, 6, keep=2)
    assert stored(directory) == {"last": 6, "last-1": 5}


def test_the_newest_one_is_complete_whenever_the_process_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path)
    for images in range(3):
        write(directory, images, keep=3)
    steps = [(os, "link"), (Path, "replace"), (Path, "unlink"), (torch, "save")]
    for place, name in steps:
        original = getattr(place, name)
        for allowed in range(4):
            calls = 0

            def killed(*arguments: object, original: object = original, allowed: int = allowed, **more: object) -> object:
                nonlocal calls
                calls += 1
                if calls > allowed:
                    raise KeyboardInterrupt
                return original(*arguments, **more)  # type: ignore[operator]

            before = stored(directory)["last"]
            with monkeypatch.context() as patch:
                patch.setattr(place, name, killed)
                with suppress(KeyboardInterrupt):
                    write(directory, before + 1, keep=3)
            assert stored(directory)["last"] in (before, before + 1), (name, allowed)


def test_a_full_disk_is_reported_as_such(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    write(directory, 1, keep=2)
    limit = 2 * directory.checkpoint("last").stat().st_size
    code = (
        "import resource, signal, sys, torch; from pathlib import Path; from gan_lab.storage import checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try: checkpoint.save(Path(sys.argv[1]), {'images': 2, 'weights': torch.zeros(10_000, 100)})\n"
        "except OSError as error: print('OSError', error.errno)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory.checkpoint("last"))], capture_output=True, text=True)
    assert done.stdout == f"OSError {errno.EFBIG}\n", done.stderr
    assert stored(directory) == {"last": 1} and not list(directory.checkpoints.glob(".*"))


def test_a_training_keeps_checkpoints_at_intervals_and_no_step_twice(tmp_path: Path) -> None:
    trainer = build_trainer(
        make_job(tmp_path, "evaluation=none", "epochs=3", "checkpoint.keep_every_kimg=0.08", "checkpoint.keep=3")
    )
    trainer.train()
    assert stored(trainer.records.directory) == {
        **{"last": 192, "last-1": 128, "last-2": 64},
        **{"images-000000080": 80, "images-000000160": 160},
    }
    resumed = build_trainer(make_job(tmp_path, "evaluation=none", "epochs=3", "checkpoint.keep=3"))
    resumed.checkpointer.restore(checkpoint.load(trainer.records.directory.checkpoint("last")), is_last=True)
    resumed.save_checkpoint()
    resumed.checkpointer.wait()
    assert stored(trainer.records.directory)["last-1"] == 128, "the same step is not kept twice"
    resumed.checkpointer.restore(checkpoint.load(trainer.records.directory.checkpoint("last-2")))
    resumed.save_checkpoint()
    resumed.checkpointer.wait()
    assert stored(trainer.records.directory)["last-1"] == 128, "nor is a step of a training that is abandoned"
    assert stored(trainer.records.directory)["last"] == 64
