"""From pictures of any size to the small ones, and to the patches that super-resolution is trained on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import as_pillow, photograph
from PIL import Image
from torch import Tensor

from gan_lab.data import packing as preparing
from gan_lab.data.datasets.folder import Folder, load_whole_images
from gan_lab.data.degradation import Bicubic, BlurDownsample, Degradation, Jpeg, Noise, reflect_pad, upscale_bicubic
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.inspection import Inspection
from gan_lab.data.packed_file import PackedDataset, VariableSizePixels
from gan_lab.data.patch_loader import PatchLoader, dihedral_transform

CPU = torch.device("cpu")


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- making small --------------------------------------------------------------------------------------------------------


def matlab_weights(length: int, scale: int) -> np.ndarray:
    """``[length / scale, length]``: the rows of MATLAB's ``imresize`` at ``1 / scale``, bicubic and antialiased, in float64."""
    count = length // scale
    centres = (np.arange(count) + 0.5) * scale - 0.5
    first = np.floor(centres - 2 * scale).astype(int)
    places = first[:, None] + np.arange(4 * scale + 2)
    distance = np.abs(centres[:, None] - places) / scale
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    kernel = np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))
    kernel /= kernel.sum(1, keepdims=True)
    inside = np.concatenate([np.arange(length), np.arange(length)[::-1]])[places % (2 * length)]  # mirrored at the edges
    weights = np.zeros((count, length))
    for row in range(count):
        np.add.at(weights[row], inside[row], kernel[row])
    return weights


def matlab(picture: Tensor, scale: int) -> np.ndarray:
    """Rows first, rounded and clipped between, as MATLAB has it for uint8."""
    values = picture.numpy().astype(np.float64)
    for axis in (1, 2):
        weights = matlab_weights(values.shape[axis], scale)
        values = np.clip(np.floor(np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis) + 0.5), 0, 255)
    return values


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_bicubic_is_pillows_and_matlabs_within_a_level(scale: int) -> None:
    picture = photograph(12 * scale, 9 * scale)
    theirs = np.asarray(as_pillow(picture).resize((9, 12), Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)
    ours = Bicubic(scale, "renormalised")(picture, drawn()).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 1
    inside = (..., slice(2, -2), slice(2, -2))
    as_in_matlab = Bicubic(scale, "mirrored")(picture, drawn()).numpy().astype(int)
    assert np.array_equal(as_in_matlab[inside], ours[inside])
    difference = np.abs(as_in_matlab - matlab(picture, scale))
    assert difference.max() <= 2 and (difference > 1).mean() < 0.01, difference.max()
    assert np.abs(ours - matlab(picture, scale))[..., 0, :].max() > 2, "the edges tell them apart"


def test_bicubic_enlargement_is_the_one_papers_compare_with() -> None:
    picture = photograph(20, 30)
    theirs = np.asarray(as_pillow(picture).resize((120, 80), Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)
    ours = upscale_bicubic(picture, 4).numpy().astype(int)
    assert ours.shape == (3, 80, 120) and np.abs(ours - theirs)[..., 8:-8, 8:-8].max() <= 1
    batch = upscale_bicubic(torch.stack([picture, picture.flip(2)]), 4)
    assert torch.equal(batch[0], upscale_bicubic(picture, 4)) and torch.equal(batch[1], upscale_bicubic(picture, 4).flip(2)), (
        "no shift"
    )


def test_blur_is_a_gaussian_about_the_middle_of_each_block() -> None:
    picture = photograph(24, 28, channels=1)
    sigma, scale = 1.6, 4
    low = BlurDownsample(scale, [sigma, sigma])(picture, drawn())[0].numpy()
    padded = np.pad(picture[0].numpy().astype(float), 8, mode="symmetric")
    y, x = np.mgrid[: padded.shape[0], : padded.shape[1]] - 8.0
    for row, column in ((0, 0), (2, 3), (5, 6)):
        centre = row * scale + 1.5, column * scale + 1.5
        near = (np.abs(y - centre[0]) <= 6.5) & (np.abs(x - centre[1]) <= 6.5)
        weights = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2)) * near
        assert abs(low[row, column] - (weights * padded).sum() / weights.sum()) <= 0.51
    grey = torch.full((3, 16, 16), 77, dtype=torch.uint8)
    assert (BlurDownsample(2, [0.5, 3.0])(grey, drawn()) == 77).all()


def test_noise_and_jpeg_are_what_they_say() -> None:
    grey = torch.full((3, 200, 200), 128, dtype=torch.uint8)
    assert Noise([10, 10])(grey, drawn()).float().std() == pytest.approx(10, rel=0.02)
    assert torch.equal(Noise([0, 0])(grey, drawn()), grey)
    for channels in (1, 3):
        picture = photograph(40, 48, channels=channels)
        file = io.BytesIO()
        as_pillow(picture).save(file, "JPEG", quality=30)
        theirs = np.asarray(Image.open(file)).reshape(40, 48, channels).transpose(2, 0, 1)
        assert np.array_equal(Jpeg([30, 30])(picture, drawn()).numpy(), theirs)


def test_what_is_random_follows_from_the_generator_alone() -> None:
    steps = {"blur": BlurDownsample(4, [0.5, 3.0]), "noise": Noise([1, 20]), "jpeg": Jpeg([20, 90])}
    degradation, picture = Degradation(steps, 4), photograph(32, 40)
    first, again, other = (degradation(picture, drawn(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 8, 10) and torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Degradation({"bicubic": Bicubic(5, "mirrored")}, 5), "scale=5: must be one of 2, 3, 4, 8"),
        (lambda: Degradation({"jpeg": Jpeg([40, 90])}, 4), "jpeg: makes pictures 1 times smaller instead of 4"),
        (lambda: Bicubic(4, "black"), "edges='black' must be one of mirrored, renormalised"),
        (lambda: Jpeg([90, 40]), r"quality=\[90, 40\] must be two numbers, the smaller first, from 1 to 100"),
        (lambda: Noise([5]), r"sigma=\[5\] must be two numbers"),
        (lambda: BlurDownsample(4, [0, 1]), "from 0.1 to 20"),
    ],
)
def test_impossible_degradations_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


# -- pictures of their own sizes -----------------------------------------------------------------------------------------

SIZES = [(20, 31), (64, 8), (33, 33), (9, 50), (41, 27)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five of differing sizes in two classes."""
    for number, (height, width) in enumerate(SIZES):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        as_pillow(photograph(height, width, number)).save(path)
    return tmp_path / "pictures"


def source(path: Path, **more: object) -> Folder:
    given = {"name": "folder", "root": str(path.parent / "data"), "size": 16, "channels": 3, "resize_mode": "whole", **more}
    return Folder(path=str(path), **given)  # type: ignore[arg-type]


def test_pictures_of_differing_sizes_are_packed_whole(pictures: Path) -> None:
    data = source(pictures).load()
    order = [0, 2, 4, 1, 3]  # by path: a/0, a/2, a/4, b/1, b/3
    assert [tuple(size) for size in data.sizes] == [SIZES[n] for n in order]
    for place, number in enumerate(order):
        assert torch.equal(data.image(place), photograph(*SIZES[number], number))
    assert data.format_size() == "3x9x50 to 3x41x27" and data.channels == 3 and data.counts() == {"a": 3, "b": 2}
    packed = source(pictures).packed()
    assert isinstance(packed.pixels, VariableSizePixels) and packed.checksum() == packed.manifest["crc32"]
    assert len(list((pictures.parent / "data" / "packed").glob("*.pack"))) == 1
    source(pictures, size=48).load()  # whole pictures have no size to be packed in anew for
    assert len(list((pictures.parent / "data" / "packed").glob("*.pack"))) == 1
    some = source(pictures, limit=2).load()
    assert len(some) == 2 and len(some.excluded()) == 3 and some.fingerprint() != data.fingerprint()


def test_a_preparation_of_whole_pictures_is_gone_on_with(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = pictures / "b" / "1.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100])
    with pytest.raises(ValueError, match="can't be read"):
        source(pictures).load()
    (part,) = (pictures.parent / "data" / "packed").glob("*.part")
    assert part.stat().st_size == 3 * sum(h * w for h, w in (SIZES[0], SIZES[2], SIZES[4]))
    data = source(pictures, max_corrupt_fraction=0.3).load()
    assert [tuple(size) for size in data.sizes] == [SIZES[n] for n in (0, 2, 4, 3)], "the unreadable one is left out"
    assert torch.equal(data.image(3), photograph(*SIZES[3], 3)) and data.counts() == {"a": 3, "b": 1}
    assert preparing.PackingProgress.read(part, "another attempt").following == 0


def test_a_shortened_file_of_whole_pictures_is_noticed(pictures: Path) -> None:
    path = source(pictures).packed().path
    content = path.read_bytes()
    path.write_bytes(content[:50] + content[51:])
    with pytest.raises(ValueError, match="is damaged: its parts don't have the sizes"):
        PackedDataset.open(path)


def test_whole_pictures_can_be_looked_at(pictures: Path, tmp_path: Path) -> None:
    data = source(pictures).load()
    inspection = Inspection.of(source(pictures), data, lambda done, total: None)
    assert not inspection.duplicates and len(inspection.sizes) == 5
    with Image.open(inspection.save_sheet(tmp_path / "sheet.png")) as sheet:
        assert sheet.size == (3 * 66 - 2, 2 * 66 - 2)


def test_pictures_to_be_measured_on_are_read_without_keeping_anything(pictures: Path) -> None:
    data, names = load_whole_images("reals", str(pictures), 1)
    assert names == ["a/0", "a/2", "a/4", "b/1", "b/3"] and data.channels == 1 and len(data) == 5
    assert not (pictures.parent / "data").exists()
    with pytest.raises(ValueError, match=r"reals=.*there is no such folder"):
        load_whole_images("reals", str(pictures / "nowhere"), 3)


# -- patches -------------------------------------------------------------------------------------------------------------


def stream_of(data: ImageDataset, part: object = None, **changed: object) -> PatchLoader:
    given = {
        "degradation": Degradation({"bicubic": Bicubic(4, "mirrored")}, 4),
        "size": 16,
        "patches_per_image": 3,
        "random_flip_rot": False,
    }
    return PatchLoader(data, batch_size=4, seed=0, device=CPU, part=part, **{**given, **changed})  # type: ignore[arg-type]


def levels(values: Tensor) -> Tensor:
    return values.add(1).mul(127.5).round().to(torch.uint8)


def found_in(picture: Tensor, patch: Tensor) -> tuple[int, int] | None:
    """Where in a picture a patch was cut out."""
    windows = picture.unfold(1, patch.shape[1], 1).unfold(2, patch.shape[2], 1)
    same = (windows == patch[:, None, None]).all(4).all(3).all(0).nonzero()
    return None if not len(same) else (int(same[0, 0]), int(same[0, 1]))


def test_a_patch_is_one_of_the_picture_and_its_small_one_of_the_small_picture(pictures: Path) -> None:
    data = source(pictures).load()
    stream = stream_of(data)
    assert stream.images_per_epoch == 12
    places = set()
    for batch, _ in zip(stream.batches(), range(12), strict=False):
        assert (
            batch.low_resolution is not None
            and batch.real.shape == (4, 3, 16, 16)
            and batch.low_resolution.shape == (4, 3, 4, 4)
        )
        for high, low in zip(levels(batch.real), levels(batch.low_resolution), strict=True):
            for number in range(len(data)):
                picture = stream.degradation.crop_to_multiple(data.image(number))
                if min(picture.shape[1:]) >= 16 and (place := found_in(picture, high)) is not None:
                    top, left = place
                    small = stream.degradation(picture, drawn())
                    assert top % 4 == left % 4 == 0
                    assert torch.equal(low, small[:, top // 4 : top // 4 + 4, left // 4 : left // 4 + 4])
                    places.add((number, *place))
    assert len(places) > 10, "places are drawn anew for each patch"


def test_a_picture_smaller_than_a_patch_is_mirrored(pictures: Path) -> None:
    data = source(pictures).load().subset(np.array([4]))  # 9 x 50
    batch = next(stream_of(data, patches_per_image=8).batches())
    picture = reflect_pad(data.image(0)[:, :8, :48], 0, 8, 0, 0)
    assert all(found_in(picture, high) is not None for high in levels(batch.real))
    tiny = ImageDataset.from_arrays(VariableSizePixels(np.zeros(3 * 9 * 3, np.uint8), np.array([[3, 9]]), 3), origin="made")
    with pytest.raises(ValueError, match="a picture has only 3 pixels on one side"):
        stream_of(tiny, patches_per_image=8)


def test_which_patches_come_next_follows_from_seed_and_images(pictures: Path) -> None:
    data = source(pictures).load()
    noisy = Degradation({"bicubic": Bicubic(4, "mirrored"), "noise": Noise([5, 20])}, 4)
    whole = [
        batch for batch, _ in zip(stream_of(data, degradation=noisy, random_flip_rot=True).batches(), range(7), strict=False)
    ]
    later = next(stream_of(data, degradation=noisy, random_flip_rot=True).batches(images=20))
    assert torch.equal(later.real, whole[5].real) and torch.equal(later.low_resolution, whole[5].low_resolution)
    assert torch.equal(later.labels, whole[5].labels)
    halves = [
        stream_of(data, lambda n, r=rank: slice(r * n // 2, (r + 1) * n // 2), degradation=noisy, random_flip_rot=True)
        for rank in (0, 1)
    ]
    parts = [next(half.batches(images=20)) for half in halves]
    assert torch.equal(torch.cat([part.low_resolution for part in parts]), whole[5].low_resolution)
    assert not any(torch.equal(whole[0].real, batch.real) for batch in whole[1:])


def test_a_patch_has_eight_positions() -> None:
    picture = torch.arange(2 * 4 * 4, dtype=torch.uint8).view(2, 4, 4)
    positions = [dihedral_transform(picture, n) for n in range(8)]
    assert torch.equal(positions[0], picture) and torch.equal(positions[1], picture.flip(2))
    assert all(not torch.equal(a, b) for n, a in enumerate(positions) for b in positions[:n])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 18}, "patch=18: must be a multiple of degradation.scale=4"),
        ({"patches_per_image": 0}, "patches=0: must be at least 1"),
        ({"size": 128}, "patch=128: the largest picture has only 41x27 pixels"),
    ],
)
def test_impossible_patches_are_refused(changed: dict[str, object], message: str, pictures: Path) -> None:
    with pytest.raises(ValueError, match=message):
        stream_of(source(pictures).load(), **changed)
