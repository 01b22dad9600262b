"""Packed files: reuse, interruption, parallel decoding and damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_files import folder_dataset, make_zip, write_images
from helpers import picture

from gan_lab.data import packing
from gan_lab.data.datasets import base
from gan_lab.data.packed_file import PackedDataset, write_tail
from gan_lab.data.raw_images import FileImages


def write_labels(folder: Path, first: int) -> None:
    """A ``dataset.json`` with alternating classes, the first image having class ``first``."""
    names = sorted(
        f.relative_to(folder).as_posix() for f in folder.rglob("*.*") if f.suffix in (".png", ".tiff") and f.name[0] != "."
    )
    (folder / "dataset.json").write_text(json.dumps({"labels": [[name, (n + first) % 2] for n, name in enumerate(names)]}))


def test_a_dataset_is_packed_once_and_another_format_is_another_file(folder: Path, shared: dict[str, Any]) -> None:
    progress: list[tuple[int, int]] = []
    source = folder_dataset(folder, shared)
    packed = source.packed(lambda *counts: progress.append(counts))
    assert progress == [(6, 6)] and packed.checksum() == packed.manifest["crc32"]
    assert packed.manifest["count"] == 6 and packed.manifest["tool"].startswith("gan_lab ")
    modification_time = packed.path.stat().st_mtime_ns
    folder_dataset(folder, shared, limit=2, classes=["cats"]).load(lambda *counts: progress.append(counts))
    assert len(progress) == 1 and packed.path.stat().st_mtime_ns == modification_time, (
        "limit and classes select from the same file"
    )
    formats: list[dict[str, Any]] = [{}, {"size": 17}, {"resize_mode": "crop"}, {"channels": 3}]
    paths = {folder_dataset(folder, shared, **changed).packed_path() for changed in formats}
    assert len(paths) == 4
    assert [p.name for p in packed.path.parent.iterdir() if not p.name.startswith(".")] == [packed.path.name]


def test_packing_restores_torch_num_threads(folder: Path, shared: dict[str, Any]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        folder_dataset(folder, shared, num_workers=2).load()
        with ThreadPoolExecutor(1) as pool:
            assert [torch.get_num_threads(), pool.submit(torch.get_num_threads).result()] == [2, 2]
    finally:
        torch.set_num_threads(before)


def test_a_changed_folder_is_packed_again(folder: Path, shared: dict[str, Any]) -> None:
    assert len(folder_dataset(folder, shared).load()) == 6
    picture(folder / "cats" / "new.png")
    os.utime(folder / "cats", ns=(1, 1))
    assert len(folder_dataset(folder, shared).load()) == 7


Change = Callable[[Path], object]

CHANGES: dict[str, Change] = {
    "a subfolder below one without images": lambda path: picture(path / "dogs" / "big" / "new.png"),
    "a subfolder is gone": lambda path: shutil.rmtree(path / "cats"),
    "a picture is overwritten": lambda path: picture(path / "cats" / "1.png", 7, 9),
    "a picture is renamed": lambda path: (path / "cats" / "1.png").rename(path / "cats" / "10.png"),
    "labels appear": lambda path: write_labels(path, 0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_below_the_folder_is_noticed(folder: Path, shared: dict[str, Any], change: Change) -> None:
    packed = folder_dataset(folder, shared).packed()
    folders = [path for path in folder.rglob("*") if path.is_dir()]
    times = {path: path.stat().st_mtime_ns for path in (folder, *folders)}
    change(folder)
    for path, time_before in times.items():
        if path.exists():
            os.utime(path, ns=(time_before, time_before))  # as if the folders' times were too coarse
    again = folder_dataset(folder, shared).packed()
    assert again.manifest["watched"] != packed.manifest["watched"]
    if again.labels is not None:
        assert len(again.labels) == len([path for path in folder.rglob("[!.]*.*") if path.suffix in (".png", ".tiff")])


def test_other_files_and_a_vanished_source_leave_the_packed_file_as_it_is(folder: Path, shared: dict[str, Any]) -> None:
    path = folder_dataset(folder, shared).packed().path
    before = path.stat().st_mtime_ns
    (folder / "notes.txt").write_text("changed")
    (folder / "cats" / "empty").mkdir()
    picture(folder / "cats" / ".thumbnail.png")
    assert len(folder_dataset(folder, shared).load()) == 6 and path.stat().st_mtime_ns == before
    shutil.rmtree(folder)
    assert len(folder_dataset(folder, shared).load()) == 6 and path.stat().st_mtime_ns == before


def test_an_overwritten_zip_is_packed_again(folder: Path, shared: dict[str, Any]) -> None:
    archive = make_zip(folder)
    first = folder_dataset(archive, shared).packed().manifest["crc32"]
    time_before = archive.stat().st_mtime_ns
    picture(folder / "cats" / "more.png")
    make_zip(folder)
    os.utime(archive, ns=(time_before, time_before))
    again = folder_dataset(archive, shared).packed()
    assert len(again.pixels) == 7 and again.manifest["crc32"] != first


def test_a_packed_file_of_an_earlier_version_is_packed_again(folder: Path, shared: dict[str, Any]) -> None:
    path = folder_dataset(folder, shared).packed().path
    content = path.read_bytes()
    packed = PackedDataset.open(path)
    manifest = {k: v for k, v in packed.manifest.items() if k not in ("labels", "sizes", "enlarged")}
    with path.open("wb") as handle:
        handle.write(content[: packed.pixels.nbytes])
        write_tail(handle, packed.labels, None, {**manifest, "watched": {str(folder): folder.stat().st_mtime_ns}})
    assert "enlarged" in folder_dataset(folder, shared).packed().manifest


def test_enlarged_images_are_counted(folder: Path, shared: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    picture(folder / "large.png", 100, 80)
    data = folder_dataset(folder, shared, size=64, resize_mode="crop").load()
    assert data.enlarged == 6 and "6 of 7 images have a side below dataset.size=64 and are enlarged" in caplog.text
    assert folder_dataset(folder, shared, size=64, resize_mode="pad").load().enlarged == 0
    assert folder_dataset(folder, shared, size=30, resize_mode="resize").load().enlarged == 0, "40 x 30 pixels are enough"


def test_unreadable_images_are_skipped_up_to_max_corrupt_fraction(
    folder: Path, shared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "cats" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    intact = (folder / "cats" / "1.png").read_bytes()
    (folder / "cats" / "cut.png").write_bytes(intact[: len(intact) // 2])
    with pytest.raises(
        ValueError,
        match=r"2 of the first 8 of 8 images can't be read: .*bad\.png.*cut\.png.*dataset\.max_corrupt_fraction=0\.26",
    ):
        folder_dataset(folder, shared).load()
    assert not list((Path(shared["root"]) / "packed").glob("*.pack")), "no incomplete file has the final name"
    bad = (folder / "cats" / "bad.png").read_bytes()
    (folder / "cats" / "bad.png").write_bytes(intact)
    assert len(folder_dataset(folder, shared, max_corrupt_fraction=0.2).load()) == 7, "a repaired image is read"
    (folder / "cats" / "bad.png").write_bytes(bad)
    shutil.rmtree(Path(shared["root"]) / "packed")
    source = folder_dataset(folder, shared, max_corrupt_fraction=0.26)
    data = source.load()
    assert len(data) == 6 and data.labels.tolist() == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]
    assert "2 of the first 8 of 8 images can't be read" in caplog.text and len(source.packed().manifest["bad"]) == 2


def test_interrupted_packing_continues_where_it_stopped(
    tmp_path: Path, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_images(tmp_path / "images", 200)
    source = folder_dataset(path, shared, num_workers=1)
    uninterrupted = folder_dataset(path, {**shared, "root": str(tmp_path / "other")}).packed()

    def interrupt(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.packed(interrupt)
    assert not source.packed_path().exists()
    opened: list[int] = []
    open_image = FileImages.open
    monkeypatch.setattr(FileImages, "open", lambda self, index: opened.append(index) or open_image(self, index))
    packed = source.packed()
    assert opened == list(range(128, 200)), "only the remaining images are decoded"
    assert np.array_equal(packed.pixels, uninterrupted.pixels) and packed.manifest["crc32"] == uninterrupted.manifest["crc32"]


@pytest.mark.parametrize("code", [28, 13])
def test_a_full_disk_or_missing_permission_is_reported_and_leaves_no_files(
    folder: Path, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(packing, "write_tail", fail)
    with pytest.raises(ValueError, match=rf"can't write .*\({os.strerror(code)}\); set paths\.data"):
        folder_dataset(folder, shared).load()
    assert not list((Path(shared["root"]) / "packed").glob("*.p*"))


def test_processes_give_the_same_result_as_one_thread(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = write_images(tmp_path / "images", 1100)
    (path / "00500.jpg").write_bytes(b"nonsense")
    by_two, by_one, from_zip = (
        folder_dataset(
            source, {**shared, "root": str(tmp_path / root)}, num_workers=num_workers, max_corrupt_fraction=0.01
        ).packed()
        for root, source, num_workers in (("a", path, 2), ("b", path, 1), ("c", make_zip(path), 2))
    )
    assert len(by_two.pixels) == 1099 and np.array_equal(by_two.pixels, by_one.pixels)
    assert np.array_equal(from_zip.pixels, by_one.pixels), "processes must not share the zip file's position"


@pytest.mark.slow
def test_two_processes_can_pack_the_same_dataset(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = write_images(tmp_path / "images", 300)
    code = (
        "import sys, json; from gan_lab.data.datasets.folder import Folder\n"
        "print(Folder(**json.loads(sys.argv[1])).packed().checksum())"
    )
    arguments = json.dumps({"path": str(path), **shared, "size": 16})
    both = [subprocess.Popen([sys.executable, "-c", code, arguments], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = [process.communicate(timeout=120)[0] for process in both]
    assert all(process.returncode == 0 for process in both) and sums[0] == sums[1] != ""


def test_changed_labels_and_images_added_during_packing_are_noticed(folder: Path, shared: dict[str, Any]) -> None:
    write_labels(folder, 0)
    assert folder_dataset(folder, shared).load().labels[:2].tolist() == [0, 1]  # type: ignore[index]
    write_labels(folder, 1)
    os.utime(folder / "dataset.json", ns=(1, 1))
    assert folder_dataset(folder, shared).load().labels[:2].tolist() == [1, 0]  # type: ignore[index]
    (folder / "dataset.json").unlink()

    def add(done: int, total: int) -> None:
        picture(folder / "cats" / "late.png")

    assert len(folder_dataset(folder, shared).packed(add).pixels) == 6
    assert len(folder_dataset(folder, shared).packed().pixels) == 7


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_packing_releases_its_lock_and_leaves_no_processes(
    tmp_path: Path, shared: dict[str, Any], signal_number: signal.Signals
) -> None:
    path = write_images(tmp_path / "images", 3000)
    code = (
        "import sys, json, time; from gan_lab.data.datasets.folder import Folder\n"
        "def report(done, total): print(done, flush=True); time.sleep(0.2)\n"
        "Folder(**json.loads(sys.argv[1])).packed(report)"
    )
    arguments = json.dumps({"path": str(path), **shared, "size": 16, "num_workers": 2})
    process = subprocess.Popen([sys.executable, "-c", code, arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal_number)
    process.wait(timeout=30)
    process.stdout.close()
    assert len(folder_dataset(path, shared, num_workers=1).packed().pixels) == 3000
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_a_killed_worker_is_reported_and_packing_can_continue(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = write_images(tmp_path / "images", 1500)
    source = folder_dataset(path, shared, num_workers=2)

    def kill(done: int, total: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(ValueError, match="a decoding process was killed"):
        source.packed(kill)
    assert source.packed_path().with_name(source.packed_path().name + ".part").exists()
    assert len(source.packed().pixels) == 1500


def test_a_truncated_part_file_is_discarded(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = write_images(tmp_path / "images", 200)
    source = folder_dataset(path, shared, num_workers=1)

    def interrupt(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.packed(interrupt)
    part = source.packed_path().with_name(source.packed_path().name + ".part")
    part.write_bytes(part.read_bytes()[:1000])
    packed = source.packed()
    assert packed.checksum() == packed.manifest["crc32"] and packed.pixels.reshape(200, -1).max(1).min() > 0


def test_a_damaged_packed_file_is_reported(folder: Path, shared: dict[str, Any]) -> None:
    path = folder_dataset(folder, shared).packed().path
    intact = path.read_bytes()
    for damaged in (b"", intact[:-20], intact[100:], b"x" * 1000):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"\.pack is (truncated or no packed file|damaged).*delete it"):
            folder_dataset(folder, shared).load()
    path.write_bytes(bytes([intact[0] ^ 1]) + intact[1:])
    assert PackedDataset.open(path).checksum() != PackedDataset.open(path).manifest["crc32"]


def test_a_changed_folder_discards_the_part_file(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = write_images(tmp_path / "images", 200)
    source = folder_dataset(path, shared, num_workers=1)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.packed(interrupt)
    (path / "00000.jpg").unlink()
    packed = source.packed()
    other = folder_dataset(path, {**shared, "root": str(tmp_path / "other")}).packed()
    assert len(packed.pixels) == 199 and np.array_equal(packed.pixels, other.pixels)


def test_a_mapped_file_that_is_cut_short_gives_a_message_not_a_signal(
    folder: Path, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "IN_MEMORY", 0)
    builder = folder_dataset(folder, shared)
    data = builder.load()
    assert len(data.images(slice(None))) == len(data)
    os.truncate(builder.packed_path(), 10)
    with pytest.raises(ValueError, match=r"\.pack has become shorter while it was read: 10 bytes"):
        data.images(slice(None))
    with pytest.raises(ValueError, match=r"\.pack has become shorter"):
        data.image(0)


def test_a_changed_byte_of_the_pixels_is_noticed(folder: Path, shared: dict[str, Any]) -> None:
    builder = folder_dataset(folder, shared)
    builder.load()
    with builder.packed_path().open("r+b") as handle:
        first = handle.read(1)[0]
        handle.seek(0)
        handle.write(bytes([first ^ 1]))
    with pytest.raises(ValueError, match=r"\.pack is damaged: its pixels have changed; delete it"):
        builder.load()
