"""A training whose files can't be written any more: what it says, and how it goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import make_job, untrained_run

from gan_lab.building.trainer import build_trainer, read_checkpoint
from gan_lab.config import write_config
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking import files


def full_disk(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which finds the disk full after so many calls."""
    left = iter(range(calls))
    return lambda *arguments, **options: (function if next(left, None) is not None else full_disk)(*arguments, **options)


def test_a_full_disk_before_the_first_checkpoint_is_no_dead_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path / "run", "evaluation=none")
    write_config(job)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_disk)
        with pytest.raises(ValueError, match=r"last\.pt: No space left on device.* with the same command and hydra\.run\.dir="):
            build_trainer(job).train()
    assert job.directory.read_summary()["status"] == "failed"
    with pytest.raises(ValueError, match="ended before its first checkpoint; start it again"):
        read_checkpoint(job.directory, "last")
    write_config(job)
    assert build_trainer(job).train()["status"] == "finished"
    with pytest.raises(ValueError, match="already holds a run"):
        write_config(job)


def test_a_full_disk_later_names_the_file_and_the_command_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path / "run", "evaluation=none")
    monkeypatch.setattr(torch, "save", full_after(1, torch.save))
    with pytest.raises(ValueError, match=r"last\.pt: No space left on device.* resume=\S+ goes on from the last checkpoint"):
        build_trainer(job).train()
    assert job.directory.read_summary()["status"] == "failed"


def test_a_summary_for_which_there_is_no_room_says_failed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path)
    files.write_summary(directory, {"status": "running", "images": 64})
    monkeypatch.setattr(files, "write_atomically", full_disk)
    with pytest.raises(OSError, match="No space"):
        files.write_summary(directory, {"status": "diverged", "images": 128})
    assert directory.read_summary() == {"status": "failed", "images": 64}


def test_a_resume_offers_no_checkpoint_that_is_damaged_too(tmp_path: Path) -> None:
    directory = untrained_run(tmp_path).directory
    good = directory.checkpoint("last").read_bytes()
    for name in ("last", "last-1", "best"):
        directory.checkpoint(name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"last\.pt is damaged") as error:
        read_checkpoint(directory, "last")
    assert "best" not in str(error.value) and "last-1" not in str(error.value) and "from a copy" in str(error.value)
    directory.checkpoint("images-000000064").write_bytes(good)
    with pytest.raises(ValueError, match="resume_from=images-000000064"):
        read_checkpoint(directory, "last")
