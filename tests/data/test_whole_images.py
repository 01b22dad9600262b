"""Datasets of images that keep their original sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dataset_files import SIZES, whole_images
from helpers import photograph
from PIL import Image

from gan_lab.data.datasets.folder import load_whole_images
from gan_lab.data.inspection import Inspection
from gan_lab.data.packed_file import PackedDataset, VariableSizePixels


def test_images_of_different_sizes_are_packed_at_their_own_size(images_folder: Path) -> None:
    data = whole_images(images_folder).load()
    order = [0, 2, 4, 1, 3]  # sorted by path: a/0, a/2, a/4, b/1, b/3
    assert [tuple(size) for size in data.sizes] == [SIZES[n] for n in order]
    for index, number in enumerate(order):
        assert torch.equal(data.image(index), photograph(*SIZES[number], number))
    assert data.format_size() == "3x9x50 to 3x41x27" and data.channels == 3 and data.counts() == {"a": 3, "b": 2}
    packed = whole_images(images_folder).packed()
    assert isinstance(packed.pixels, VariableSizePixels) and packed.checksum() == packed.manifest["crc32"]
    assert len(list((images_folder.parent / "data" / "packed").glob("*.pack"))) == 1
    whole_images(images_folder, size=48).load()  # size has no effect
    assert len(list((images_folder.parent / "data" / "packed").glob("*.pack"))) == 1
    some = whole_images(images_folder, limit=2).load()
    assert len(some) == 2 and len(some.excluded()) == 3 and some.fingerprint() != data.fingerprint()


def test_packing_continues_after_an_unreadable_image(images_folder: Path) -> None:
    damaged = images_folder / "b" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ValueError, match="can't be read"):
        whole_images(images_folder).load()
    (part,) = (images_folder.parent / "data" / "packed").glob("*.part")
    assert part.stat().st_size == 3 * sum(h * w for h, w in (SIZES[0], SIZES[2], SIZES[4]))
    data = whole_images(images_folder, max_corrupt_fraction=0.3).load()
    assert [tuple(size) for size in data.sizes] == [SIZES[n] for n in (0, 2, 4, 3)], "the unreadable image is skipped"
    assert torch.equal(data.image(3), photograph(*SIZES[3], 3)) and data.counts() == {"a": 3, "b": 1}
    assert not part.exists(), "the part file has been renamed"


def test_a_shortened_packed_file_is_reported(images_folder: Path) -> None:
    path = whole_images(images_folder).packed().path
    content = path.read_bytes()
    path.write_bytes(content[:50] + content[51:])
    with pytest.raises(ValueError, match="is damaged: its sections don't have the lengths"):
        PackedDataset.open(path)


def test_images_of_different_sizes_have_a_contact_sheet(images_folder: Path, tmp_path: Path) -> None:
    data = whole_images(images_folder).load()
    inspection = Inspection.of(whole_images(images_folder), data, lambda done, total: None)
    assert not inspection.duplicates and len(inspection.sizes) == 5
    with Image.open(inspection.save_sheet(tmp_path / "sheet.png")) as sheet:
        assert sheet.size == (3 * 66 - 2, 2 * 66 - 2)


def test_load_whole_images_writes_no_files(images_folder: Path) -> None:
    data, names = load_whole_images("reals", str(images_folder), 1)
    assert names == ["a/0", "a/2", "a/4", "b/1", "b/3"] and data.channels == 1 and len(data) == 5
    assert not (images_folder.parent / "data").exists()
    with pytest.raises(ValueError, match=r"reals=.*there is no such folder"):
        load_whole_images("reals", str(images_folder / "nowhere"), 3)
