"""Checkpoints and run directories, also after crashes and damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from gan_lab.storage import checkpoint
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking.base import RunInfo
from gan_lab.tracking.files import Files

CPU = torch.device("cpu")
STATE = {"images": 7, "weights": {"a": torch.arange(1000.0)}, "random": checkpoint.random_state(CPU, torch.Generator())}


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "deep" / "last.pt", STATE)
    state = checkpoint.load(tmp_path / "deep" / "last.pt")
    assert state["images"] == 7 and torch.equal(state["weights"]["a"], torch.arange(1000.0))
    checkpoint.restore_random_state(state["random"], CPU, torch.Generator())
    a = torch.rand(3)
    checkpoint.restore_random_state(state["random"], CPU, torch.Generator())
    assert torch.equal(a, torch.rand(3))


def test_a_damaged_checkpoint_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(ValueError, match="no checkpoint at"):
        checkpoint.load(path)
    checkpoint.save(path, STATE)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for damaged in (b"", whole[: len(whole) // 2], b"nonsense" * 100, bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"last\.pt is damaged or no checkpoint"):
            checkpoint.load(path)
    torch.save({"some": "other file"}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of gan_lab"):
        checkpoint.load(path)
    torch.save({"format": 5, "images": 64}, path)
    with pytest.raises(ValueError, match="has format 5; this version of gan_lab reads format 7 only"):
        checkpoint.load(path)


class Malicious:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def test_a_checkpoint_is_read_without_executing_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "payload": Malicious()}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        checkpoint.load(tmp_path / "last.pt")
    assert not (tmp_path / "pwned").exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def info(path: Path, first_image: int = 0) -> RunInfo:
    return RunInfo(path, "test", None, {}, total_images=100, images_per_epoch=50, first_image=first_image)


def row(images: int, loss: float) -> dict[str, float]:
    return {"images": images, "epoch": images / 50, "seconds": 0.0, "d/loss": loss}


def test_rows_trained_again_are_replaced_and_an_incomplete_line_is_skipped(tmp_path: Path) -> None:
    files = Files()
    files.start(info(tmp_path))
    for images in (10, 20, 30):
        files.metrics(row(images, 1.0))
    with RunDirectory(tmp_path).metrics.open("a") as handle:
        handle.write('{"images": 40, "d/lo')  # the machine crashed here
    files.close()
    resumed = Files()
    resumed.start(info(tmp_path, first_image=20))
    resumed.metrics(row(30, 2.0))
    resumed.metrics(row(40, float("nan")))
    history = RunDirectory(tmp_path).history()
    assert [(r["images"], r["d/loss"]) for r in history] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, None)]
    assert len(RunDirectory(tmp_path).metrics.read_text().splitlines()) == 4, "each number of images once"
    resumed.roll_back(20)
    resumed.close()
    assert [r["images"] for r in RunDirectory(tmp_path).history()] == [10, 20]
    again = Files()
    again.start(info(tmp_path))
    again.close()
    assert RunDirectory(tmp_path).history() == [], "resumed from the checkpoint of the untrained networks"


def test_a_run_is_found_or_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="latest: no run"):
        RunDirectory.find("latest")
    with pytest.raises(ValueError, match="nowhere is not a run directory: it does not exist"):
        RunDirectory.find("nowhere")
    for name in ("b", "a"):
        (tmp_path / "several" / name).mkdir(parents=True)
        (tmp_path / "several" / name / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"several is not a run directory: .* Give a folder such as several/a$"):
        RunDirectory.find("several")
    for n, name in enumerate(("outputs/2026-01-01/12-00-00", "multirun/2026-01-01/13-00-00/1", "outputs/2026-01-01/11-00-00")):
        run = RunDirectory(name)
        write_atomically(run.config, "model: {}\n")
        os.utime(run.config, (n, n))
    assert RunDirectory.find("latest").path == Path("outputs/2026-01-01/11-00-00")
    with pytest.raises(ValueError, match=r"holds no config\.yaml"):
        RunDirectory.find("outputs")
