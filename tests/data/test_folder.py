"""Folders, zip files and arrays of images."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import Malicious, folder_dataset, make_zip
from helpers import compose_config, picture

from gan_lab.config import instantiate
from gan_lab.data.datasets.folder import Folder
from gan_lab.data.labels import number_classes

RNG = np.random.default_rng(0)


def test_folder_and_zip_give_the_same_images_and_classes(folder: Path, shared: dict[str, Any]) -> None:
    sets = [Folder(path=str(path), **shared).load() for path in (folder, make_zip(folder))]
    for data in sets:
        assert len(data) == 6 and data.classes == ("cats", "dogs") and data.labels.tolist() == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]
    assert np.array_equal(sets[0].pixels, sets[1].pixels)


def test_dataset_json_of_the_stylegan_tools_gives_the_labels(folder: Path, shared: dict[str, Any]) -> None:
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.png") if not f.name.startswith("."))
    labels = json.dumps({"labels": [[name, n + 2] for n, name in enumerate(names)]}).encode()
    data = Folder(path=str(make_zip(folder, **{"dataset.json": labels})), **shared).load()
    order = sorted(
        f.relative_to(folder).as_posix() for f in folder.rglob("*.*") if f.suffix in (".png", ".tiff") and f.name[0] != "."
    )
    expected = [names.index(name) + 2 if name in names else -1 for name in order]
    assert data.labels.tolist() == expected and -1 in expected  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"dataset\.json must contain"):
        Folder(path=str(make_zip(folder, **{"dataset.json": b"[1"})), **shared).load()


def pets(path: Path, prefix: str = "", slash: str = "/", **more: bytes) -> Path:
    """A zip of two cats and two dogs."""
    with zipfile.ZipFile(path, "w") as archive:
        for n, kind in enumerate(("cat", "cat", "dog", "dog")):
            image = picture(path.parent / "one.png").read_bytes()
            archive.writestr(f"{prefix}{kind}{slash}{n}.png", image)
        for name, content in more.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(("prefix", "slash"), [("", "\\"), ("pets/", "/"), ("pets\\", "\\"), ("./", "/"), ("pets/train/", "/")])
def test_folders_of_a_zip_are_classes_however_they_are_written(
    tmp_path: Path, shared: dict[str, Any], prefix: str, slash: str
) -> None:
    data = Folder(path=str(pets(tmp_path / "a.zip", prefix, slash)), **shared).load()
    assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("cat/1.png", picture(tmp_path / "one.png").read_bytes())
        archive.writestr("cat/2.png", picture(tmp_path / "one.png").read_bytes())
    assert Folder(path=str(tmp_path / "one.zip"), **shared).load().classes == ("cat",), "a folder of images alone is a class"


def labels_json(*entries: tuple[str, object]) -> bytes:
    return json.dumps({"labels": entries}).encode()


@pytest.mark.parametrize("prefix", ["", "./", "/", "pets/", "pets.zip/"])
def test_paths_in_a_label_file_match_in_any_spelling(tmp_path: Path, shared: dict[str, Any], prefix: str) -> None:
    names = ["cat/0.png", "cat\\1.png", "dog/2.png", "dog/./3.png"]
    labels = labels_json(*((f"{prefix}{name}", float(n)) for n, name in enumerate(names)))
    for folder in ("", "pets/"):
        archive = pets(tmp_path / "pets.zip", folder, **{f"{folder}dataset.json": labels})
        data = Folder(path=str(archive), **shared).load()
        assert data.labels.tolist() == [0, 1, 2, 3], folder  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            [("x.png", 0), ("y.png", 1)],
            "none of the 2 paths in dataset.json is that of an image, such as x.png; .* cat/0.png",
        ),
        ([("cat/0.png", 0), ("./cat/0.png", 1)], r"lists \./cat/0\.png twice"),
        ([("missing.png", 0), ("missing.png", 1)], r"lists missing\.png twice"),
        ([("cat/0.png", 1.5)], r"labels in dataset.json must be whole numbers, not 1\.5"),
        ([("cat/0.png", 10**12)], "must be class indices, 0 to 99,999"),
        ([("cat/0.png", -2)], "must be class indices"),
        ([("cat/0.png", None), ("dog/2.png", 1)], "must be one number, or one name, for each image, not None"),
        ([("cat/0.png", [0, 1]), ("dog/2.png", 1)], r"must be one number, or one name, for each image"),
    ],
)
def test_a_label_file_that_would_lose_labels_is_refused(
    tmp_path: Path, shared: dict[str, Any], entries: list[tuple[str, object]], message: str
) -> None:
    archive = pets(tmp_path / "pets.zip", **{"dataset.json": labels_json(*entries)})
    with pytest.raises(ValueError, match=rf"dataset\.path=.*pets\.zip.*{message}"):
        Folder(path=str(archive), **shared).load()


def test_paths_without_an_image_and_images_without_a_label_are_counted(
    tmp_path: Path, shared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    labels = labels_json(("cat/0.png", 0), ("cat/1.png", 1), ("gone.png", 1), ("dog/2.png", 1))
    data = Folder(path=str(pets(tmp_path / "pets.zip", **{"dataset.json": labels})), **shared).load()
    assert data.labels.tolist() == [0, 1, 1, -1]  # type: ignore[union-attr]
    assert "dataset.json has 1 path without an image, such as gone.png" in caplog.text
    assert "dataset.json has no label for 1 image, such as dog/3.png" in caplog.text


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        (np.array([0, 1, 255, 1], np.uint8), [0, 1, 255, 1], 256),
        (np.array([0, 1, 2, 1], np.uint64), [0, 1, 2, 1], 3),
        (np.array([-1, 1, 0, 1], np.int8), [-1, 1, 0, 1], 2),
        (np.array([0, 1, 1, 0], bool), [0, 1, 1, 0], 2),
        (np.array([0.0, 1.0, 2.0, 1.0], np.float32), [0, 1, 2, 1], 3),
        (np.array(["dog", "cat", "dog", "ant"]), [2, 1, 2, 0], 3),
        (np.array([b"10", b"2", b"0", b"2"]), [10, 2, 0, 2], 11),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_labels_of_any_type_are_numbers_of_classes(labels: np.ndarray, expected: list[int], classes: int) -> None:
    numbers, names = number_classes(labels, "labels")
    assert numbers.tolist() == expected and numbers.dtype == np.int64 and len(names) == classes


@pytest.mark.parametrize("wrong", [[0.5, 1], [float("nan"), 1], [2**63, 1], [-2, 1], [1j, 1]])
def test_labels_that_are_no_numbers_of_classes_are_refused(wrong: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"^labels must be "):
        number_classes(np.array(wrong), "labels")


def test_files_that_are_no_images_are_counted_by_ending(
    folder: Path, shared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.HEIC", "b.heic", "c.jpg?w=300", "d"):
        (folder / "cats" / name).write_bytes(b"")
    expected = {".heic": 2, ".txt": 1, ".jpg?w=300": 1, "no ending": 1}
    for source in (folder, make_zip(folder)):
        caplog.clear()
        assert Folder(path=str(source), **shared).raw_images().passed_over == expected
        Folder(path=str(source), **shared).load()
        assert "5 files are passed over" in caplog.text and "2 .heic" in caplog.text and "1 no ending" in caplog.text


def test_names_of_folders_may_be_in_any_encoding(tmp_path: Path, shared: dict[str, Any]) -> None:
    for name in (b"caf\xe9", "café".encode(), b"[red]"):
        picture(tmp_path / "images" / os.fsdecode(name) / "1.png")
    data = folder_dataset(tmp_path / "images", shared).load()
    assert data.classes == ("[red]", "café", "caf\\xe9")


def test_arrays_are_read(tmp_path: Path, shared: dict[str, Any]) -> None:
    images = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", images=images[..., 0], labels=np.array([0, 1, 2, 0, 1, 2]))
    assert np.array_equal(Folder(path=str(tmp_path / "a.npy"), **{**shared, "channels": 3}).load().pixels, images)
    labeled = Folder(path=str(tmp_path / "a.npz"), **shared).load()
    assert np.array_equal(labeled.pixels, images[..., :1]) and labeled.classes == ("0", "1", "2")
    np.save(tmp_path / "b.npy", images.astype(float))
    np.save(tmp_path / "c.npy", np.array([Malicious()], dtype=object), allow_pickle=True)
    for name, message in (("b.npy", r"must be uint8 .*float64 \[6, 32, 32, 3\]"), ("c.npy", "can't be read as an array")):
        with pytest.raises(ValueError, match=message):
            Folder(path=str(tmp_path / name), **shared).load()


def test_an_invalid_path_is_reported(tmp_path: Path, shared: dict[str, Any]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04nonsense")
    (tmp_path / "a.rar").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "escape.zip", "w") as archive:
        archive.writestr("../../evil.png", b"")
    for name, message in (
        ("missing", "there is no such folder or file"),
        ("empty", "no images found in it"),
        ("text", "no images found in it"),
        ("a.zip", "no zip file"),
        ("a.rar", r"must be a folder, or a \.zip"),
        ("escape.zip", r"its member \.\./\.\./evil\.png has a path outside"),
    ):
        with pytest.raises(ValueError, match=rf"dataset\.path=.*{name}.*{message}"):
            Folder(path=str(tmp_path / name), **shared).load()
    assert not list((Path(shared["root"]) / "packed").glob("*.p*"))


def test_circular_links_hidden_folders_and_other_files_are_skipped(folder: Path, shared: dict[str, Any]) -> None:
    (folder / "cats" / "circle").symlink_to(folder)
    picture(folder / ".thumbs" / "0.png")
    (folder / "weights.h5").write_bytes(b"x")
    (folder / "license.pdf").write_bytes(b"x")
    assert len(folder_dataset(folder, shared).load()) == 6
    (folder / "cats" / "circle").unlink()
    assert len(folder_dataset(make_zip(folder), shared).load()) == 6


def test_classes_are_chosen_as_the_command_line_reads_them(tmp_path: Path) -> None:
    names = ["true", "null", "7", "1.5", "[red]", "a b", "-x", "Été", "two\nlines"]
    for name in names:
        picture(tmp_path / "images" / name / "1.png")
    given = ["TRUE", "null", "7", "1.5", "'[red]'", "a b", "-x", "'été'", '"two\nlines"']
    arguments = ["dataset=folder", f"dataset.path={tmp_path / 'images'}", "dataset.size=16", f"paths.data={tmp_path / 'data'}"]
    source = instantiate(compose_config(*arguments, f"dataset.classes=[{','.join(given)}]").dataset, "dataset")
    assert source.load().classes == tuple(names)
