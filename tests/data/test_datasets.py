"""Sources in the formats they are published in, and what may be wrong with them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import compose_config, picture, run_module, write_celeba
from PIL import Image

import gan_lab.data.packing as prepare_module
from gan_lab.config import instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.datasets.celeba import CelebA
from gan_lab.data.datasets.cifar import KINDS, Cifar
from gan_lab.data.datasets.embedded import EmbeddedFashionMnist
from gan_lab.data.datasets.folder import Folder
from gan_lab.data.datasets.huggingface import HuggingFace
from gan_lab.data.datasets.idx import Idx
from gan_lab.data.datasets.stacked_mnist import StackedMnist
from gan_lab.data.idx_format import read_idx
from gan_lab.data.image_decoding import MAX_PIXELS, decode
from gan_lab.data.packed_file import PackedDataset
from gan_lab.data.raw_images import FileImages
from gan_lab.storage.downloads import file_digest

RNG = np.random.default_rng(0)


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, Any]:
    return {"name": "test", "root": str(tmp_path / "data"), "size": 32, "channels": 1, "resize_mode": "pad"}


def offline(*arguments: object, **more: object) -> None:
    raise OSError("no route to host")


# -- decoding ----------------------------------------------------------------------------------------------------------


def test_grey_is_pillows_luma_and_colour_repeats_grey() -> None:
    colour = Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    assert np.array_equal(decode(colour, 9, 1, "resize")[:, :, 0], np.asarray(colour.convert("L")))
    grey = colour.convert("L")
    assert np.array_equal(decode(grey, 9, 3, "resize"), np.asarray(grey)[:, :, None].repeat(3, 2))


def test_padding_keeps_the_pixels_and_centres_them_and_shrinks_what_is_larger() -> None:
    image = RNG.integers(1, 256, (28, 28), dtype=np.uint8)
    padded = decode(Image.fromarray(image), 32, 1, "pad")[:, :, 0]
    assert np.array_equal(padded[2:30, 2:30], image) and padded.sum() == image.sum()
    tall = decode(Image.new("L", (50, 100), 255), 32, 1, "pad")[:, :, 0]
    assert (tall[:, 8:24] == 255).all() and tall[:, :8].max() == tall[:, 24:].max() == 0


def test_cropping_takes_the_central_square_and_precrop_a_smaller_one() -> None:
    wide = np.zeros((4, 10), np.uint8)
    wide[:, 3:7] = 200
    assert (decode(Image.fromarray(wide), 4, 1, "crop") == 200).all()
    target = np.zeros((20, 20), np.uint8)
    target[6:14, 6:14] = 99
    assert (decode(Image.fromarray(target), 8, 1, "crop", precrop=8) == 99).all()


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    small = decode(Image.fromarray(stripes), 32, 1, "resize")
    assert np.abs(small.astype(int) - 127).max() <= 8, "a fine pattern becomes its mean, not a coarse pattern"


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("L", 77, 77), ("1", 1, 255), ("P", 0, 0), ("CMYK", (0, 0, 0, 255), 0), ("F", 300.0, 255), ("I;16", 0x8080, 0x80)],
)
def test_every_mode_becomes_eight_bits(mode: str, value: Any, expected: int) -> None:
    made = Image.new(mode, (8, 8), value)
    assert np.unique(decode(made, 8, 1, "resize")).tolist() == [expected]
    assert decode(Image.new(mode, (8, 8), value), 8, 3, "resize").shape == (8, 8, 3)


def test_transparency_is_laid_on_white_and_exif_turns(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (decode(clear, 8, 3, "resize") == 255).all()
    half = decode(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), 8, 1, "resize")
    assert abs(int(half[0, 0, 0]) - 127) <= 1
    turned = Image.new("RGB", (40, 20))
    turned.paste((255, 255, 255), (0, 0, 40, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: the white upper half becomes the right one
    turned.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        upright = decode(opened, 16, 1, "crop")[:, :, 0]
    assert upright[:, :6].max() < 10 and upright[:, 10:].min() > 245


def test_a_large_jpeg_is_decoded_at_a_fraction_with_the_same_result(tmp_path: Path) -> None:
    rows = np.linspace(0, 3, 1600)
    smooth = ((np.sin(rows)[:, None] * np.cos(rows)[None] + 1) * 127).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "large.jpg", quality=95)
    with Image.open(tmp_path / "large.jpg") as opened:
        quick = decode(opened, 64, 1, "crop")
        assert opened.size < (1600, 1600) and min(opened.size) >= 128
    slow = decode(Image.fromarray(smooth), 64, 1, "crop")
    assert np.abs(quick.astype(int) - slow).max() <= 3


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    class Bomb:
        width, height, size, format = 20_000, MAX_PIXELS // 20_000 + 1, (20_000, 5_001), "PNG"

        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was used")

    with pytest.raises(ValueError, match="20000 x 5001 pixels are more than"):
        decode(Bomb(), 32, 3, "crop")  # type: ignore[arg-type]


# -- published formats -------------------------------------------------------------------------------------------------


def test_the_embedded_garments_are_the_published_test_set(shared: dict[str, Any]) -> None:
    source = EmbeddedFashionMnist(**{**shared, "size": 28})
    data = source.load()
    assert data.shape == (1, 28, 28) and len(data) == 10_000
    # of the published t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, unpacked
    images_file = struct.pack(">IIII", 2051, 10_000, 28, 28) + data.pixels.tobytes()
    labels_file = struct.pack(">II", 2049, 10_000) + data.labels.astype(np.uint8).tobytes()  # type: ignore[union-attr]
    assert hashlib.sha256(images_file).hexdigest() == "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    assert hashlib.sha256(labels_file).hexdigest() == "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    assert not Path(shared["root"]).exists(), "it needs no folder to write to"
    assert data.counts() == dict.fromkeys(data.classes, 1000)


def write_idx(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">I{array.ndim}I", 2048 + array.ndim, *array.shape) + array.tobytes())
    return path


def write_mnist(folder: Path, kind: str = "MNIST") -> dict[str, np.ndarray]:
    arrays = {}
    for part, count in (("train", 12), ("t10k", 5)):
        arrays[part] = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / kind / "raw" / f"{part}-images-idx3-ubyte", arrays[part])
        write_idx(folder / kind / "raw" / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    return arrays


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST", "KMNIST"])
def test_the_mnist_family_is_read_in_its_published_format(shared: dict[str, Any], kind: str) -> None:
    arrays = write_mnist(Path(shared["root"]), kind)
    for split, expected in (
        ("train", arrays["train"]),
        ("test", arrays["t10k"]),
        ("all", np.concatenate(list(arrays.values()))),
    ):
        data = Idx(kind=kind, **{**shared, "size": 28, "split": split}).load()
        assert np.array_equal(data.pixels[..., 0], expected)
        assert len(data.classes) == 10 and data.labels is not None and data.labels[3] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no idx file"),
        (struct.pack(">IIII", 2051, 10, 28, 28) + b"\1" * 100, "cut short or damaged: 100 values instead of 10 x 28 x 28"),
        (struct.pack(">I", 2051), "cut short"),
        (b"\x1f\x8b" + b"\0" * 30, "damaged"),
        (struct.pack(">IIII", 0x0D03, 1, 1, 1), "no idx file of unsigned bytes"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "images")


def write_cifar(folder: Path, kind: str) -> np.ndarray:
    about = KINDS[kind]
    target = folder / about.folder
    target.mkdir(parents=True)
    rows = RNG.integers(0, 256, (10, 3072), dtype=np.uint8)
    for part in (*about.train, *about.test):
        (target / part).write_bytes(pickle.dumps({"data": rows, about.labels: list(range(10))}, protocol=2))
    (target / about.meta).write_bytes(pickle.dumps({about.names: [f"class {n}" for n in range(100)]}))
    return rows


@pytest.mark.parametrize("kind", ["CIFAR10", "CIFAR100"])
def test_cifar_is_read_in_its_published_format(shared: dict[str, Any], kind: str) -> None:
    rows = write_cifar(Path(shared["root"]), kind)
    data = Cifar(kind=kind, **{**shared, "channels": 3, "split": "test"}).load()
    assert np.array_equal(data.pixels, rows.reshape(10, 3, 32, 32).transpose(0, 2, 3, 1))
    assert data.classes[9] == "class 9" and data.labels is not None and data.labels[9] == 9
    train = Cifar(kind=kind, **{**shared, "channels": 3, "split": "train", "classes": ["class 3"]}).load()
    assert len(train) == len(KINDS[kind].train) and train.classes == ("class 3",)


def test_cifar_is_read_from_the_archive_too(shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shared["root"])
    write_cifar(root / "made", "CIFAR100")
    archive = root / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "made" / "cifar-100-python", "cifar-100-python")
    with pytest.raises(ValueError, match=r"cifar-100-python\.tar\.gz is not the published file \(MD5 .* instead of eb9058c3"):
        Cifar(kind="CIFAR100", **shared).load()
    monkeypatch.setattr(KINDS["CIFAR100"].published, "tgz_md5", file_digest(archive, "md5"))
    assert len(Cifar(kind="CIFAR100", **shared).load()) == 20


class Malicious:
    """Would run a command when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("content", [pickle.dumps({"data": Malicious()}), b"\x80\x04nonsense", b"", pickle.dumps([1])])
def test_a_pickle_is_read_without_executing_it_and_its_damage_named(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar(Path(shared["root"]), "CIFAR100")
    (Path(shared["root"]) / "cifar-100-python" / "train").write_bytes(content)
    with pytest.raises(ValueError, match=r"cifar-100-python/train (is damaged|holds no dictionary)"):
        Cifar(kind="CIFAR100", **shared).load()
    assert not (tmp_path / "pwned").exists()
    assert not list((Path(shared["root"]) / "packed").glob("*.p*"))


@pytest.mark.parametrize(("kind", "make"), [("MNIST", Idx), ("CIFAR10", Cifar)])
def test_what_is_neither_there_nor_to_be_had_says_where_to_put_it(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kind: str, make: type[DatasetBuilder]
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError, match=r"dataset=test needs .*data.*no route to host.*MD5 [0-9a-f]{32}.*paths\.data"):
        make(kind=kind, **shared).load()  # type: ignore[call-arg]


@pytest.mark.parametrize("zipped", [False, True])
def test_celeba_is_read_as_it_is_distributed(shared: dict[str, Any], zipped: bool) -> None:
    write_celeba(Path(shared["root"]), zipped)
    shape = {**shared, "channels": 3, "resize_mode": "crop"}
    counts = {split: len(CelebA(**{**shape, "split": split}).load()) for split in ("train", "valid", "test", "all")}
    assert counts == {"train": 8, "valid": 2, "test": 2, "all": 12}
    data = CelebA(**{**shape, "split": "train", "attributes": ["Smiling", "-Bald"]}).load()
    assert data.index.tolist() == [4, 6] and data.classes == ("Bald", "Eyeglasses", "Smiling")
    assert data.labels_of(slice(None)).tolist() == [[0, 0, 1], [0, 1, 1]]  # type: ignore[union-attr]
    other = CelebA(**{**shape, "precrop": 108}).packed_path()
    assert other != CelebA(**shape).packed_path(), "another crop is another file"
    rows = (Path(shared["root"]) / "celeba" / "list_attr_celeba.txt").read_text()
    (Path(shared["root"]) / "celeba" / "list_attr_celeba.txt").write_text(rows[: len(rows) // 2])
    with pytest.raises(ValueError, match=r"list_attr_celeba\.txt is damaged or cut short: . whole rows instead of 12"):
        CelebA(**shape).load()
    with pytest.raises(ValueError, match="precrop=200"):
        CelebA(**{**shape, "precrop": 200})


def test_celebas_quota_is_answered_with_names_places_and_checksums(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise RuntimeError("too many users have viewed or downloaded this file recently")

    monkeypatch.setattr("gan_lab.data.datasets.celeba.download_file_from_google_drive", refused)
    with pytest.raises(ValueError) as caught:
        CelebA(**shared).load()
    for expected in (
        "too many users",
        "celeba/img_align_celeba.zip   MD5 00d2c5bc",
        "list_attr_celeba.txt",
        "list_eval_partition.txt",
    ):
        assert expected in str(caught.value)


def test_stacked_mnist_stacks_three_digits_and_labels_the_mode(shared: dict[str, Any]) -> None:
    arrays = write_mnist(Path(shared["root"]))
    shape = {**shared, "size": 28, "channels": 3}
    data = StackedMnist(count=50, **{**shape, "split": "train"}).load()
    assert data.pixels.shape == (50, 28, 28, 3) and len(data.classes) == 1000
    stacks = arrays["train"]
    for pixels, label in zip(data.pixels, data.labels, strict=True):  # type: ignore[arg-type]
        digits = [next(n for n in range(12) if np.array_equal(stacks[n], pixels[..., c])) % 10 for c in range(3)]
        assert int("".join(map(str, digits))) == label
    again = StackedMnist(count=50, **{**shape, "split": "train", "root": shared["root"]}).load()
    assert np.array_equal(again.pixels, data.pixels)


# -- one's own ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n, mode in enumerate(("L", "RGB", "RGBA", "P", "CMYK", "1")):
        picture(
            tmp_path / "own" / ("cats" if n % 2 else "dogs/puppies") / f"{n}.{'tiff' if mode == 'CMYK' else 'png'}", mode=mode
        )
    (tmp_path / "own" / "notes.txt").write_text("no picture")
    picture(tmp_path / "own" / ".hidden.png")
    return tmp_path / "own"


def zipped(folder: Path, **extra: bytes) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
        for name, content in extra.items():
            archive.writestr(name, content)
    return path


def test_folder_and_zip_hold_the_same_pictures_and_classes(folder: Path, shared: dict[str, Any]) -> None:
    sets = [Folder(path=str(path), **shared).load() for path in (folder, zipped(folder))]
    for data in sets:
        assert len(data) == 6 and data.classes == ("cats", "dogs") and data.labels.tolist() == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]
    assert np.array_equal(sets[0].pixels, sets[1].pixels)


def test_the_labels_of_the_stylegan_tools_are_used(folder: Path, shared: dict[str, Any]) -> None:
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.png") if not f.name.startswith("."))
    labels = json.dumps({"labels": [[name, n + 2] for n, name in enumerate(names)]}).encode()
    data = Folder(path=str(zipped(folder, **{"dataset.json": labels})), **shared).load()
    order = sorted(
        f.relative_to(folder).as_posix() for f in folder.rglob("*.*") if f.suffix in (".png", ".tiff") and f.name[0] != "."
    )
    expected = [names.index(name) + 2 if name in names else -1 for name in order]
    assert data.labels.tolist() == expected and -1 in expected  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"dataset\.json is not"):
        Folder(path=str(zipped(folder, **{"dataset.json": b"[1"})), **shared).load()


def test_arrays_are_read(tmp_path: Path, shared: dict[str, Any]) -> None:
    images = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", images=images[..., 0], labels=np.array([0, 1, 2, 0, 1, 2]))
    assert np.array_equal(Folder(path=str(tmp_path / "a.npy"), **{**shared, "channels": 3}).load().pixels, images)
    labelled = Folder(path=str(tmp_path / "a.npz"), **shared).load()
    assert np.array_equal(labelled.pixels, images[..., :1]) and labelled.classes == ("0", "1", "2")
    np.save(tmp_path / "b.npy", images.astype(float))
    np.save(tmp_path / "c.npy", np.array([Malicious()], dtype=object), allow_pickle=True)
    for name, message in (("b.npy", r"must be uint8 .*float64 \[6, 32, 32, 3\]"), ("c.npy", "can't be read as an array")):
        with pytest.raises(ValueError, match=message):
            Folder(path=str(tmp_path / name), **shared).load()


def test_what_is_no_data_set_is_said(tmp_path: Path, shared: dict[str, Any]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04nonsense")
    (tmp_path / "a.rar").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "escape.zip", "w") as archive:
        archive.writestr("../../evil.png", b"")
    for name, message in (
        ("missing", "there is no such folder or file"),
        ("empty", "no picture in it"),
        ("text", "no picture in it"),
        ("a.zip", "is no zip"),
        ("a.rar", r"must be a folder, a \.zip"),
        ("escape.zip", r"its member \.\./\.\./evil\.png points outside"),
    ):
        with pytest.raises(ValueError, match=rf"dataset\.path=.*{name}.*{message}"):
            Folder(path=str(tmp_path / name), **shared).load()
    assert not list((Path(shared["root"]) / "packed").glob("*.p*"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "dataset.size=0"),
        ({"channels": 2}, "dataset.channels=2"),
        ({"resize_mode": "squash"}, "dataset.resize_mode=squash: must be one of pad, resize, crop"),
        ({"limit": 0}, "dataset.limit=0"),
        ({"split": "valid"}, "dataset.split=valid: test has train, test, all"),
        ({"max_corrupt_fraction": 2.0}, "dataset.max_corrupt_fraction=2.0"),
        ({"num_workers": 0}, "dataset.num_workers=0"),
    ],
)
def test_a_wrong_shape_is_refused(shared: dict[str, Any], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Idx(kind="MNIST", **{**shared, **wrong})


# -- packing -----------------------------------------------------------------------------------------------------------


def many(path: Path, count: int) -> Path:
    for n in range(count):
        picture(path / f"{n:05d}.jpg", 24, 24)
    return path


def own(path: Path, shared: dict[str, Any], **more: Any) -> Folder:
    return Folder(path=str(path), **{**shared, "size": 16, **more})


def test_a_request_is_packed_once_and_other_requests_are_other_files(folder: Path, shared: dict[str, Any]) -> None:
    done: list[tuple[int, int]] = []
    source = own(folder, shared)
    packed = source.packed(lambda *counts: done.append(counts))
    assert done == [(6, 6)] and packed.checksum() == packed.manifest["crc32"]
    assert packed.manifest["count"] == 6 and packed.manifest["tool"].startswith("gan_lab ")
    changed = packed.path.stat().st_mtime_ns
    own(folder, shared, limit=2, classes=["cats"]).load(lambda *counts: done.append(counts))
    assert len(done) == 1 and packed.path.stat().st_mtime_ns == changed, "limits and classes choose from the same file"
    paths = {own(folder, shared, **more).packed_path() for more in ({}, {"size": 17}, {"resize_mode": "crop"}, {"channels": 3})}
    assert len(paths) == 4
    assert [p.name for p in packed.path.parent.iterdir() if not p.name.startswith(".")] == [packed.path.name]


def test_packing_leaves_torch_its_threads(folder: Path, shared: dict[str, Any]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        own(folder, shared, num_workers=2).load()
        with ThreadPoolExecutor(1) as pool:
            assert [torch.get_num_threads(), pool.submit(torch.get_num_threads).result()] == [2, 2]
    finally:
        torch.set_num_threads(before)


def test_a_changed_folder_is_packed_anew(folder: Path, shared: dict[str, Any]) -> None:
    assert len(own(folder, shared).load()) == 6
    picture(folder / "cats" / "new.png")
    os.utime(folder / "cats", ns=(1, 1))
    assert len(own(folder, shared).load()) == 7


def test_unreadable_pictures_are_counted_named_and_left_out_up_to_a_share(
    folder: Path, shared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "cats" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    whole = (folder / "cats" / "1.png").read_bytes()
    (folder / "cats" / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError,
        match=r"2 of the first 8 of 8 images can't be read: .*bad\.png.*cut\.png.*dataset\.max_corrupt_fraction=0\.26",
    ):
        own(folder, shared).load()
    assert not list((Path(shared["root"]) / "packed").glob("*.pack")), "nothing that looks finished is left behind"
    bad = (folder / "cats" / "bad.png").read_bytes()
    (folder / "cats" / "bad.png").write_bytes(whole)
    assert len(own(folder, shared, max_corrupt_fraction=0.2).load()) == 7, "one that was mended in place is read"
    (folder / "cats" / "bad.png").write_bytes(bad)
    shutil.rmtree(Path(shared["root"]) / "packed")
    source = own(folder, shared, max_corrupt_fraction=0.26)
    data = source.load()
    assert len(data) == 6 and data.labels.tolist() == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]
    assert "2 of the first 8 of 8 images can't be read" in caplog.text and len(source.packed().manifest["bad"]) == 2


def test_an_interrupted_preparation_goes_on_where_it_stopped(
    tmp_path: Path, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many(tmp_path / "own", 200)
    source = own(path, shared, num_workers=1)
    whole = own(path, {**shared, "root": str(tmp_path / "other")}).packed()

    def interrupt(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.packed(interrupt)
    assert not source.packed_path().exists()
    opened: list[int] = []
    first = FileImages.open
    monkeypatch.setattr(FileImages, "open", lambda self, number: opened.append(number) or first(self, number))
    packed = source.packed()
    assert opened == list(range(128, 200)), "only what was missing is decoded"
    assert np.array_equal(packed.pixels, whole.pixels) and packed.manifest["crc32"] == whole.manifest["crc32"]


@pytest.mark.parametrize("code", [28, 13])
def test_a_full_disk_or_a_missing_permission_is_said_and_leaves_nothing(
    folder: Path, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(prepare_module, "write_tail", fail)
    with pytest.raises(ValueError, match=rf"can't write .*\({os.strerror(code)}\); set paths\.data"):
        own(folder, shared).load()
    assert not list((Path(shared["root"]) / "packed").glob("*.p*"))


def test_many_pictures_are_decoded_by_processes_with_the_same_result(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = many(tmp_path / "own", 1100)
    (path / "00500.jpg").write_bytes(b"nonsense")
    by_two = own(path, shared, num_workers=2, max_corrupt_fraction=0.01).packed()
    by_one = own(path, {**shared, "root": str(tmp_path / "other")}, num_workers=1, max_corrupt_fraction=0.01).packed()
    assert len(by_two.pixels) == 1099 and np.array_equal(by_two.pixels, by_one.pixels)
    from_zip = own(zipped(path), {**shared, "root": str(tmp_path / "third")}, num_workers=2, max_corrupt_fraction=0.01).packed()
    assert np.array_equal(from_zip.pixels, by_one.pixels), "two processes must not share a zip's file position"


def test_two_processes_preparing_the_same_thing_do_not_hurt_each_other(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = many(tmp_path / "own", 300)
    code = (
        "import sys, json; from gan_lab.data.datasets.folder import Folder\n"
        "print(Folder(**json.loads(sys.argv[1])).packed().checksum())"
    )
    arguments = json.dumps({"path": str(path), **shared, "size": 16})
    both = [subprocess.Popen([sys.executable, "-c", code, arguments], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = [process.communicate(timeout=120)[0] for process in both]
    assert all(process.returncode == 0 for process in both) and sums[0] == sums[1] != ""


def write_labels(folder: Path, first: int) -> None:
    names = sorted(
        f.relative_to(folder).as_posix() for f in folder.rglob("*.*") if f.suffix in (".png", ".tiff") and f.name[0] != "."
    )
    (folder / "dataset.json").write_text(json.dumps({"labels": [[name, (n + first) % 2] for n, name in enumerate(names)]}))


def test_changed_labels_and_pictures_added_meanwhile_are_noticed(folder: Path, shared: dict[str, Any]) -> None:
    write_labels(folder, 0)
    assert own(folder, shared).load().labels[:2].tolist() == [0, 1]  # type: ignore[index]
    write_labels(folder, 1)
    os.utime(folder / "dataset.json", ns=(1, 1))
    assert own(folder, shared).load().labels[:2].tolist() == [1, 0]  # type: ignore[index]
    (folder / "dataset.json").unlink()

    def add(done: int, total: int) -> None:
        picture(folder / "cats" / "late.png")

    assert len(own(folder, shared).packed(add).pixels) == 6
    assert len(own(folder, shared).packed().pixels) == 7


def test_links_in_circles_hidden_folders_and_data_files_are_passed_over(folder: Path, shared: dict[str, Any]) -> None:
    (folder / "cats" / "round").symlink_to(folder)
    picture(folder / ".thumbs" / "0.png")
    (folder / "weights.h5").write_bytes(b"x")
    (folder / "licence.pdf").write_bytes(b"x")
    assert len(own(folder, shared).load()) == 6
    (folder / "cats" / "round").unlink()
    assert len(own(zipped(folder), shared).load()) == 6


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_preparation_keeps_no_lock_and_leaves_no_process(
    tmp_path: Path, shared: dict[str, Any], signal_number: signal.Signals
) -> None:
    path = many(tmp_path / "own", 3000)
    code = (
        "import sys, json, time; from gan_lab.data.datasets.folder import Folder\n"
        "def told(done, total): print(done, flush=True); time.sleep(0.2)\n"
        "Folder(**json.loads(sys.argv[1])).packed(told)"
    )
    arguments = json.dumps({"path": str(path), **shared, "size": 16, "num_workers": 2})
    process = subprocess.Popen([sys.executable, "-c", code, arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal_number)
    process.wait(timeout=30)
    process.stdout.close()
    assert len(own(path, shared, num_workers=1).packed().pixels) == 3000
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_a_killed_worker_is_told_and_the_work_goes_on_from_there(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = many(tmp_path / "own", 1500)
    source = own(path, shared, num_workers=2)

    def kill(done: int, total: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(ValueError, match="a process that decodes was killed"):
        source.packed(kill)
    assert source.packed_path().with_name(source.packed_path().name + ".part").exists()
    assert len(source.packed().pixels) == 1500


def test_a_part_that_lost_its_end_is_not_trusted(tmp_path: Path, shared: dict[str, Any]) -> None:
    path = many(tmp_path / "own", 200)
    source = own(path, shared, num_workers=1)

    def interrupt(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.packed(interrupt)
    part = source.packed_path().with_name(source.packed_path().name + ".part")
    part.write_bytes(part.read_bytes()[:1000])
    packed = source.packed()
    assert packed.checksum() == packed.manifest["crc32"] and packed.pixels.reshape(200, -1).max(1).min() > 0


def test_a_damaged_packed_file_is_named(folder: Path, shared: dict[str, Any]) -> None:
    path = own(folder, shared).packed().path
    whole = path.read_bytes()
    for damaged in (b"", whole[:-20], whole[100:], b"x" * 1000):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"\.pack is (no packed file|damaged).*remove it"):
            own(folder, shared).load()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert PackedDataset.open(path).checksum() != PackedDataset.open(path).manifest["crc32"]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_packs_verifies_and_shows(folder: Path, tmp_path: Path) -> None:
    arguments = ["dataset=folder", f"dataset.path={folder}", "paths.data=data", "dataset.size=16"]
    picture(folder / "cats" / "twin.png").write_bytes((folder / "cats" / "1.png").read_bytes())
    done = run_module("prepare", *arguments, "show=true", "sheet=sheet.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for expected in ("7 images", "checksum correct", "cats", "40 x 30", "1 duplicates", "0 unreadable", "sheet.png"):
        assert expected in done.stdout, done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 100
    (path,) = (tmp_path / "data" / "packed").glob("*.pack")
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    done = run_module("prepare", *arguments, cwd=tmp_path)
    assert done.returncode == 1 and "its checksum differs" in done.stderr


def test_every_data_set_of_the_configuration_names_a_source(tmp_path: Path) -> None:
    for path in sorted((Path(__file__).parents[2] / "conf" / "dataset").glob("*.yaml")):
        extra = ["dataset.path=x"] if path.stem in ("folder", "huggingface") else []
        source = instantiate(compose_config(f"dataset={path.stem}", f"paths.data={tmp_path}", *extra).dataset, "dataset")
        assert isinstance(source, DatasetBuilder) and source.name == path.stem


def test_torchvisions_own_readers_give_arrays_and_their_trouble_is_told(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = RNG.integers(0, 256, (6, 3, 96, 96), dtype=np.uint8)
    halves = [(images[:2], [0, 1]), (images[2:], [-1, -1, 2, 0])]
    parts = [SimpleNamespace(data=pixels, labels=np.array(labels), classes=["a", "b", "c"]) for pixels, labels in halves]
    reader = mock.Mock(side_effect=parts)
    reader.__name__ = "STL10"
    monkeypatch.setattr("torchvision.datasets.STL10", reader)
    cfg = compose_config("dataset=stl10", "dataset.size=96", f"paths.data={shared['root']}", "dataset.split=train+unlabeled")
    data = instantiate(cfg.dataset, "dataset").load()
    assert np.array_equal(data.pixels, images.transpose(0, 2, 3, 1)) and data.counts() == {
        "a": 2,
        "b": 1,
        "c": 1,
        "(unlabelled)": 2,
    }
    assert [len(data.only_classes([name])) for name in "abc"] == [2, 1, 1], "unlabelled images are of no class"
    assert [call.kwargs["split"] for call in reader.call_args_list] == ["train", "unlabeled"]
    reader.side_effect = RuntimeError("File not found or corrupted.")
    cfg.dataset.split = "test"
    with pytest.raises(ValueError, match=r"dataset=stl10 is not whole under .*corrupted.*torchvision\.datasets\.STL10"):
        instantiate(cfg.dataset, "dataset").load()


def test_a_hub_data_set_is_read_by_its_columns(shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows(list):  # type: ignore[type-arg]
        column_names: ClassVar = ["image", "label"]
        features: ClassVar = {"label": SimpleNamespace(names=["cat", "dog"])}

        def __getitem__(self, key: Any) -> Any:
            return [row[key] for row in self] if isinstance(key, str) else list.__getitem__(self, key)

    rows = Rows({"image": Image.new("L", (16, 16), n), "label": n % 2} for n in range(5))
    hub = SimpleNamespace(load_dataset=mock.Mock(return_value=rows))
    monkeypatch.setitem(sys.modules, "datasets", hub)
    own = {**shared, "size": 16, "path": "somebody/pets", "image": "image", "split": "validation"}
    data = HuggingFace(label="label", **own).load()
    assert data.pixels[:, 0, 0, 0].tolist() == list(range(5)) and data.counts() == {"cat": 3, "dog": 2}
    hub.load_dataset.assert_called_once_with("somebody/pets", split="validation")
    with pytest.raises(ValueError, match="somebody/pets has no column breed; it has image, label"):
        HuggingFace(label="breed", **own).load()
    hub.load_dataset.side_effect = ConnectionError("offline")
    with pytest.raises(ValueError, match=r"dataset\.path=somebody/pets could not be loaded from the hub \(offline\)"):
        HuggingFace(label=None, **own).load()


def test_hugging_faces_absence_is_said(tmp_path: Path, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'gan_lab\[huggingface\]'"):
        HuggingFace(path="somebody/something", image="image", label=None, **shared).load()
