"""Patches for super-resolution and their low-resolution versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_files import rng, whole_images
from torch import Tensor

from gan_lab.data.degradation import Bicubic, Degradation, Noise, reflect_pad
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.packed_file import VariableSizePixels
from gan_lab.data.patch_loader import PatchLoader, check_sides, dihedral_transform

CPU = torch.device("cpu")


def make_loader(data: ImageDataset, part: object = None, **changed: object) -> PatchLoader:
    arguments: dict[str, Any] = {
        "degradation": Degradation({"bicubic": Bicubic(4, "mirrored")}, 4),
        "size": 16,
        "patches_per_image": 3,
        "random_flip_rot": False,
    }
    return PatchLoader(data, batch_size=4, seed=0, device=CPU, part=part, **{**arguments, **changed})  # type: ignore[arg-type]


def to_levels(values: Tensor) -> Tensor:
    return values.add(1).mul(127.5).round().to(torch.uint8)


def find_patch(image: Tensor, patch: Tensor) -> tuple[int, int] | None:
    """Row and column of a patch in an image, or None."""
    windows = image.unfold(1, patch.shape[1], 1).unfold(2, patch.shape[2], 1)
    same = (windows == patch[:, None, None]).all(4).all(3).all(0).nonzero()
    return None if not len(same) else (int(same[0, 0]), int(same[0, 1]))


def test_a_patch_equals_the_same_part_of_the_image_and_of_the_degraded_image(images_folder: Path) -> None:
    data = whole_images(images_folder).load()
    loader = make_loader(data)
    assert loader.images_per_epoch == 12
    positions = set()
    for batch, _ in zip(loader.batches(), range(12), strict=False):
        assert (
            batch.low_resolution is not None
            and batch.real.shape == (4, 3, 16, 16)
            and batch.low_resolution.shape == (4, 3, 4, 4)
        )
        for high, low in zip(to_levels(batch.real), to_levels(batch.low_resolution), strict=True):
            for number in range(len(data)):
                image = loader.degradation.crop_to_multiple(data.image(number))
                if min(image.shape[1:]) >= 16 and (position := find_patch(image, high)) is not None:
                    top, left = position
                    degraded = loader.degradation(image, rng())
                    assert top % 4 == left % 4 == 0
                    assert torch.equal(low, degraded[:, top // 4 : top // 4 + 4, left // 4 : left // 4 + 4])
                    positions.add((number, *position))
    assert len(positions) > 10, "a position is drawn for each patch"


def test_an_image_smaller_than_a_patch_is_extended_by_reflection(images_folder: Path) -> None:
    data = whole_images(images_folder).load().subset(np.array([4]))  # 9 x 50
    batch = next(make_loader(data, patches_per_image=8).batches())
    image = reflect_pad(data.image(0)[:, :8, :48], 0, 8, 0, 0)
    assert all(find_patch(image, high) is not None for high in to_levels(batch.real))
    tiny = ImageDataset.from_arrays(VariableSizePixels(np.zeros(3 * 9 * 3, np.uint8), np.array([[3, 9]]), 3), origin="test")
    with pytest.raises(ValueError, match="image 0 has only 9 x 3 pixels; a side needs at least 4: remove it"):
        make_loader(tiny, patches_per_image=8)


def test_patches_depend_only_on_the_seed_and_the_images_seen(images_folder: Path) -> None:
    data = whole_images(images_folder).load()
    noisy = Degradation({"bicubic": Bicubic(4, "mirrored"), "noise": Noise([5, 20])}, 4)
    whole = [
        batch for batch, _ in zip(make_loader(data, degradation=noisy, random_flip_rot=True).batches(), range(7), strict=False)
    ]
    later = next(make_loader(data, degradation=noisy, random_flip_rot=True).batches(images=20))
    assert torch.equal(later.real, whole[5].real) and torch.equal(later.low_resolution, whole[5].low_resolution)
    assert torch.equal(later.labels, whole[5].labels)
    halves = [
        make_loader(data, lambda n, r=rank: slice(r * n // 2, (r + 1) * n // 2), degradation=noisy, random_flip_rot=True)
        for rank in (0, 1)
    ]
    parts = [next(half.batches(images=20)) for half in halves]
    assert torch.equal(torch.cat([part.low_resolution for part in parts]), whole[5].low_resolution)
    assert not any(torch.equal(whole[0].real, batch.real) for batch in whole[1:])


def test_thin_images_are_named() -> None:
    sizes = np.array([[40, 40], [3, 50], [2, 9]])
    with pytest.raises(ValueError, match=r"degradation\.scale=4: b\.png \(and 1 more\) has only 50 x 3 pixels; .* remove it"):
        check_sides(sizes, 4, lambda number: f"{'abc'[number]}.png")
    check_sides(sizes, 2, str)


def test_dihedral_transform_has_eight_orientations() -> None:
    image = torch.arange(2 * 4 * 4, dtype=torch.uint8).view(2, 4, 4)
    variants = [dihedral_transform(image, n) for n in range(8)]
    assert torch.equal(variants[0], image) and torch.equal(variants[1], image.flip(2))
    assert all(not torch.equal(a, b) for n, a in enumerate(variants) for b in variants[:n])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 18}, "patch=18: must be a multiple of degradation.scale=4"),
        ({"patches_per_image": 0}, "patches=0: must be at least 1"),
        ({"size": 128}, "patch=128: the largest image has only 41x27 pixels"),
    ],
)
def test_an_invalid_patch_is_rejected(changed: dict[str, object], message: str, images_folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make_loader(whole_images(images_folder).load(), **changed)
