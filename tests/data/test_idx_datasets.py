"""MNIST, its drop-in replacements, Stacked MNIST and the embedded Fashion-MNIST."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import write_mnist

from gan_lab.data.datasets.embedded import EmbeddedFashionMnist
from gan_lab.data.datasets.idx import Idx
from gan_lab.data.datasets.stacked_mnist import StackedMnist
from gan_lab.data.idx_format import read_idx


def test_embedded_fashion_mnist_is_the_published_test_set(shared: dict[str, Any]) -> None:
    source = EmbeddedFashionMnist(**{**shared, "size": 28})
    data = source.load()
    assert data.shape == (1, 28, 28) and len(data) == 10_000
    # checksums of the published files t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, uncompressed
    images_file = struct.pack(">IIII", 2051, 10_000, 28, 28) + data.pixels.tobytes()
    labels_file = struct.pack(">II", 2049, 10_000) + data.labels.astype(np.uint8).tobytes()  # type: ignore[union-attr]
    assert hashlib.sha256(images_file).hexdigest() == "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    assert hashlib.sha256(labels_file).hexdigest() == "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    assert not Path(shared["root"]).exists(), "it writes no files"
    assert data.counts() == dict.fromkeys(data.classes, 1000)


@pytest.mark.parametrize(("size", "channels", "mode"), [(32, 3, "pad"), (20, 1, "pad"), (36, 1, "resize"), (20, 3, "crop")])
def test_embedded_images_are_decoded_as_files_are(shared: dict[str, Any], size: int, channels: int, mode: str) -> None:
    source = EmbeddedFashionMnist(**{**shared, "size": size, "channels": channels, "resize_mode": mode})
    pixels, raw_images = source.load().pixels, source.raw_images()
    for number in (0, 1, 4999, 9999):
        assert np.array_equal(pixels[number], source.image_format.decode(raw_images, number))


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_and_replacements_are_read_in_the_published_format(shared: dict[str, Any], kind: str) -> None:
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
        (b"", "no IDX file"),
        (struct.pack(">IIII", 2051, 10, 28, 28) + b"\1" * 100, "truncated or damaged: 100 values instead of 10 x 28 x 28"),
        (struct.pack(">I", 2051), "truncated"),
        (b"\x1f\x8b" + b"\0" * 30, "damaged"),
        (struct.pack(">IIII", 0x0D03, 1, 1, 1), "no IDX file of unsigned bytes"),
    ],
)
def test_a_damaged_idx_file_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "images")


def test_stacked_mnist_labels_its_three_digits(shared: dict[str, Any]) -> None:
    arrays = write_mnist(Path(shared["root"]))
    arguments = {**shared, "size": 28, "channels": 3}
    data = StackedMnist(count=50, **{**arguments, "split": "train"}).load()
    assert data.pixels.shape == (50, 28, 28, 3) and len(data.classes) == 1000
    digit_images = arrays["train"]
    for pixels, label in zip(data.pixels, data.labels, strict=True):  # type: ignore[arg-type]
        digits = [next(n for n in range(12) if np.array_equal(digit_images[n], pixels[..., c])) % 10 for c in range(3)]
        assert int("".join(map(str, digits))) == label
    again = StackedMnist(count=50, **{**arguments, "split": "train"}).load()
    assert np.array_equal(again.pixels, data.pixels)
