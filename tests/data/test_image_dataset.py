"""Selection of images by class, attribute and limit."""

from __future__ import annotations

import numpy as np
import pytest

from gan_lab.data.image_dataset import ImageDataset


def labeled() -> ImageDataset:
    """Twelve images, four of each class; the red value is the image's index."""
    pixels = np.zeros((12, 2, 2, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(12)[:, None, None]
    return ImageDataset.from_arrays(pixels, np.arange(12) % 3, ("apple", "pear", "rose"))


def numbers(data: ImageDataset) -> list[int]:
    return data.images(slice(None))[:, 0, 0, 0].tolist()


def test_classes_are_selected_in_any_case_and_only_once() -> None:
    assert labeled().only_classes(["ROSE"]).classes == ("rose",)
    with pytest.raises(ValueError, match="a class is given twice"):
        labeled().only_classes(["rose", "Rose"])


def test_classes_are_selected_by_name_or_index_and_renumbered() -> None:
    chosen = labeled().only_classes(["rose", 0])
    assert numbers(chosen) == [0, 2, 3, 5, 6, 8, 9, 11]
    assert chosen.labels_of(slice(None)).tolist() == [1, 0, 1, 0, 1, 0, 1, 0]  # type: ignore[union-attr]
    assert chosen.classes == ("rose", "apple") and chosen.counts() == {"rose": 4, "apple": 4}
    numeric = ImageDataset.from_arrays(labeled().pixels, np.arange(12) % 3, ("1", "10", "2"))
    assert numbers(numeric.only_classes([2])) == [2, 5, 8, 11], "a name takes precedence over an index"
    unlabeled = ImageDataset.from_arrays(
        labeled().pixels, np.where(np.arange(12) < 6, -1, np.arange(12) % 3), ("apple", "pear", "rose")
    )
    assert numbers(unlabeled.only_classes(["rose"])) == [8, 11]
    for wrong in (["rose", "rose"], []):
        with pytest.raises(ValueError, match=r"dataset\.classes="):
            labeled().only_classes(wrong)
    with pytest.raises(ValueError, match=r"dataset\.classes: there is no rosa; did you mean rose"):
        labeled().only_classes(["rosa"])
    with pytest.raises(ValueError, match="this dataset has no classes"):
        ImageDataset.from_arrays(np.zeros((2, 1, 1, 1), np.uint8)).only_classes(["rose"])


def test_attributes_select_images_and_a_minus_sign_excludes_them() -> None:
    attributes = np.array([[n & 1, n >> 1 & 1] for n in range(12)], dtype=np.uint8)
    data = ImageDataset.from_arrays(labeled().pixels, attributes, ("Smiling", "Eyeglasses"))
    assert numbers(data.only_attributes(["Smiling", "-Eyeglasses"])) == [1, 5, 9]
    assert data.counts() == {"Smiling": 6, "Eyeglasses": 6} and data.multi_label
    with pytest.raises(ValueError, match=r"dataset\.attributes: there is no Smilin; did you mean Smiling"):
        data.only_attributes(["-Smilin"])
    with pytest.raises(ValueError, match="no images match all of them"):
        data.only_attributes(["Smiling", "-Smiling"])
    with pytest.raises(ValueError, match="no attributes"):
        labeled().only_attributes(["Smiling"])


def test_random_subset_depends_on_the_seed_and_has_no_repetitions() -> None:
    a, b, c = (numbers(labeled().random_subset(5, seed)) for seed in (1, 1, 2))
    assert a == b != c and len(set(a)) == 5 and a == sorted(a)
    assert set(numbers(labeled().only_classes(["pear"]).random_subset(2, 0))) < {1, 4, 7, 10}
    assert numbers(labeled().random_subset(100, 0)) == list(range(12))
