"""Images, sources and the stream."""

from __future__ import annotations

import hashlib
import pickle
import struct
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from gan_lab.data.images import ImageSet, fit_crop, fit_pad, fit_resize, grid, to_channels, to_uint8, to_unit
from gan_lab.data.sources.embedded import EmbeddedFashionMnist
from gan_lab.data.sources.folder import Folder
from gan_lab.data.sources.published import Published
from gan_lab.data.stream import Stream

CPU = torch.device("cpu")


def shape(**more: Any) -> dict[str, Any]:
    return {"name": "test", "size": 32, "channels": 1, "fit": "pad", **more}


# -- images ------------------------------------------------------------------------------------------------------------


def test_every_grey_level_survives_the_way_to_the_network_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = to_unit(levels)
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_uint8(floats), levels)
    assert torch.equal(to_uint8(torch.tensor([-3.0, 3.0])), torch.tensor([0, 255], dtype=torch.uint8))


def test_grey_is_pillows_luma_and_colour_repeats_grey() -> None:
    colour = torch.randint(0, 256, (5, 3, 9, 9), dtype=torch.uint8)
    for grey, picture in zip(to_channels(colour, 1), colour, strict=True):
        pillow = np.asarray(Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L"))
        assert np.abs(grey[0].numpy().astype(int) - pillow).max() <= 1
    assert torch.equal(to_channels(colour[:, :1], 3), colour[:, :1].repeat(1, 3, 1, 1))
    with pytest.raises(ValueError, match="4 channels"):
        to_channels(torch.zeros(1, 4, 2, 2, dtype=torch.uint8), 3)


def test_padding_keeps_the_pixels_and_centres_them() -> None:
    images = torch.randint(1, 256, (2, 1, 28, 28), dtype=torch.uint8)
    padded = fit_pad(images, 32)
    assert torch.equal(padded[:, :, 2:30, 2:30], images)
    assert padded.sum() == images.sum()
    assert fit_pad(torch.ones(1, 3, 100, 50, dtype=torch.uint8), 32).shape == (1, 3, 32, 32)


def test_resizing_is_close_to_pillows_antialiased_bicubic() -> None:
    rows = torch.linspace(0, 6, 96)
    image = ((torch.sin(rows)[:, None] * torch.cos(rows)[None] + 1) * 127).to(torch.uint8)
    pillow = Image.fromarray(image.numpy()).resize((32, 32), Image.Resampling.BICUBIC)
    ours = fit_resize(image[None, None], 32)[0, 0]
    assert np.abs(ours.numpy().astype(int) - np.asarray(pillow)).max() <= 2


def test_cropping_takes_the_central_square() -> None:
    wide = torch.zeros(1, 1, 4, 10, dtype=torch.uint8)
    wide[:, :, :, 3:7] = 200
    assert (fit_crop(wide, 4) == 200).all()


def test_a_grid_places_images_row_by_row() -> None:
    images = torch.stack([torch.full((1, 2, 2), 10 * n, dtype=torch.uint8) for n in range(1, 6)])
    picture = np.asarray(grid(images, columns=3, scale=2, gap=1))
    assert picture.shape == (10, 16)
    assert [picture[0, x] for x in (0, 6, 12)] == [10, 20, 30]
    assert [picture[6, x] for x in (0, 6, 12)] == [40, 50, 0]
    assert picture[0, 4] == 0
    assert grid(images.expand(-1, 3, -1, -1)).size == (10, 6)


# -- sources -----------------------------------------------------------------------------------------------------------


def test_the_embedded_garments_are_the_published_test_set() -> None:
    data = EmbeddedFashionMnist(**shape(size=28)).load()
    assert data.images.shape == (10_000, 1, 28, 28)
    # of the published t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, unpacked, without their headers
    pixels = data.images.numpy().tobytes()
    labels = data.labels.to(torch.uint8).numpy().tobytes()  # type: ignore[union-attr]
    images_file = struct.pack(">IIII", 2051, 10_000, 28, 28) + pixels
    assert hashlib.sha256(images_file).hexdigest() == IMAGES_SHA256
    assert hashlib.sha256(struct.pack(">II", 2049, 10_000) + labels).hexdigest() == LABELS_SHA256
    assert data.classes[int(data.labels[0])] == "ankle boot"  # type: ignore[index]


IMAGES_SHA256 = "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
LABELS_SHA256 = "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"


def test_a_limit_is_a_seeded_choice_without_repetition() -> None:
    a, b, c = (EmbeddedFashionMnist(**shape(limit=200, seed=s)).load() for s in (1, 1, 2))
    assert torch.equal(a.images, b.images) and not torch.equal(a.images, c.images)
    assert len({image.numpy().tobytes() for image in a.images}) == 200
    assert len(EmbeddedFashionMnist(**shape(limit=10**6)).load()) == 10_000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "dataset.size=0"),
        ({"channels": 2}, "dataset.channels=2"),
        ({"fit": "squash"}, "dataset.fit=squash: must be one of pad, resize, crop"),
        ({"limit": 0}, "dataset.limit=0"),
    ],
)
def test_a_wrong_shape_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddedFashionMnist(**shape(**wrong))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of every mode, in two classes, one turned by its EXIF tag."""
    rng = np.random.default_rng(0)
    for n, mode in enumerate(("L", "RGB", "RGBA", "P", "CMYK", "1")):
        path = tmp_path / ("cats" if n % 2 else "dogs") / f"{n}.{'tiff' if mode == 'CMYK' else 'png'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).convert(mode).save(path)
    turned = Image.new("RGB", (40, 20))
    turned.paste((255, 255, 255), (0, 0, 40, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: the white upper half becomes the right one
    turned.save(tmp_path / "dogs" / "turned.png", exif=exif)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_is_read_whatever_the_pictures_are(pictures: Path) -> None:
    data = Folder(path=str(pictures), **shape(channels=3, fit="crop")).load()
    assert data.images.shape == (7, 3, 32, 32)
    assert data.classes == ("cats", "dogs")
    assert data.labels is not None and data.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    turned = data.images[-1].float().mean(0)
    assert turned[:, :14].max() == 0 and turned[:, 18:].min() == 255
    assert Folder(path=str(pictures / "cats"), **shape(channels=1, fit="resize", limit=2)).load().images.shape == (2, 1, 32, 32)


def test_a_folder_without_pictures_or_with_a_broken_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.path=.*missing: there is no such folder"):
        Folder(path=str(tmp_path / "missing"), **shape()).load()
    with pytest.raises(ValueError, match="no picture"):
        Folder(path=str(tmp_path), **shape()).load()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(ValueError, match=r"broken\.png can't be read"):
        Folder(path=str(tmp_path), **shape()).load()


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">I{array.ndim}I", 2048 + array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())


def test_mnist_is_read_in_its_published_format(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        write_idx(tmp_path / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(tmp_path / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", labels)
    data = Published(reader="MNIST", root=str(tmp_path), **shape(size=28)).load()
    assert np.array_equal(data.images[:, 0].numpy(), images)
    assert data.labels is not None and data.labels.tolist() == labels.tolist()
    assert data.classes[7] == "7 - seven"


@pytest.mark.parametrize("channels", [3, 1])
def test_cifar_is_read_in_its_published_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    contents = {
        "train": {"data": rows, "fine_labels": list(range(10)), "coarse_labels": [0] * 10},
        "test": {"data": rows[:2], "fine_labels": [0, 1], "coarse_labels": [0, 0]},
        "meta": {"fine_label_names": [f"class {n}" for n in range(100)], "coarse_label_names": []},
    }
    sums = {}
    for name, content in contents.items():
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        sums[name] = hashlib.md5(raw).hexdigest()
    reader = torchvision.datasets.CIFAR100
    monkeypatch.setattr(reader, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(reader, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": sums["meta"]})
    data = Published(reader="CIFAR100", root=str(tmp_path), **shape(channels=channels)).load()
    assert data.images.shape == (10, channels, 32, 32)
    if channels == 3:
        assert np.array_equal(data.images.numpy(), rows.reshape(10, 3, 32, 32))
    assert data.classes[9] == "class 9" and data.labels is not None and data.labels[9] == 9


def test_a_data_set_that_is_neither_there_nor_to_be_had_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: object, **more: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(ValueError, match=rf"dataset=test is not whole under {tmp_path}.*no route to host.*paths\.data"):
        Published(reader="CIFAR10", root=str(tmp_path), **shape()).load()


# -- the stream --------------------------------------------------------------------------------------------------------


def numbered(count: int) -> ImageSet:
    return ImageSet(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2), torch.arange(count))


def take(stream: Stream, batches: int, start: int = 0) -> list[list[int]]:
    source = stream.batches(start)
    return [next(source).labels.tolist() for _ in range(batches)]  # type: ignore[union-attr]


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order() -> None:
    stream = Stream(numbered(30), 10, seed=4, device=CPU)
    first, second = take(stream, 3), take(stream, 6)[3:]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(30))
    assert first != second


def test_the_rest_of_an_epoch_is_left_out_and_differs_from_epoch_to_epoch() -> None:
    stream = Stream(numbered(10), 4, seed=0, device=CPU)
    assert stream.images_per_epoch == 8
    left_out = [set(range(10)) - set(chain(*take(stream, 2, start=8 * epoch))) for epoch in range(6)]
    assert all(len(rest) == 2 for rest in left_out) and len(set(map(frozenset, left_out))) > 1


def test_a_stream_goes_on_from_any_place_as_if_it_had_never_stopped() -> None:
    stream = Stream(numbered(30), 4, seed=7, device=CPU)
    whole = take(stream, 20)
    assert all(take(Stream(numbered(30), 4, 7, CPU), 20 - n, start=4 * n) == whole[n:] for n in (0, 3, 7, 8, 15))
    assert take(Stream(numbered(30), 4, 8, CPU), 20) != whole


def test_batches_are_the_images_in_unit_range_and_memory_format() -> None:
    data = ImageSet(torch.randint(0, 256, (8, 3, 6, 6), dtype=torch.uint8))
    batch = next(Stream(data, 4, 0, CPU, torch.channels_last).batches())
    assert batch.labels is None and batch.real.is_contiguous(memory_format=torch.channels_last)
    index = Stream(data, 4, 0, CPU).order(0)[:4]
    assert torch.equal(to_uint8(batch.real), data.images[index])


def test_a_batch_larger_than_the_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=11 is larger than the data set, which has 10 images"):
        Stream(numbered(10), 11, 0, CPU)
