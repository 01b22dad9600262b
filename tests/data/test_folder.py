"""Folders, zip files and arrays of images."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import Malicious, folder_dataset, make_zip
from helpers import picture

from gan_lab.data.datasets.folder import Folder

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
