"""Images, packed files and the stream."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import BatchLoader
from gan_lab.utils.image_ops import image_grid, normalize, to_uint8

CPU = torch.device("cpu")


# -- images ------------------------------------------------------------------------------------------------------------


def test_every_grey_level_survives_the_way_to_the_network_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = normalize(levels)
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_uint8(floats), levels)
    assert torch.equal(to_uint8(torch.tensor([-3.0, 3.0])), torch.tensor([0, 255], dtype=torch.uint8))


def test_a_grid_places_images_row_by_row() -> None:
    images = torch.stack([torch.full((1, 2, 2), 10 * n, dtype=torch.uint8) for n in range(1, 6)])
    picture = np.asarray(image_grid(images, columns=3, scale=2, gap=1))
    assert picture.shape == (10, 16)
    assert [picture[0, x] for x in (0, 6, 12)] == [10, 20, 30]
    assert [picture[6, x] for x in (0, 6, 12)] == [40, 50, 0]
    assert picture[0, 4] == 0
    assert image_grid(images.expand(-1, 3, -1, -1)).size == (10, 6)


def labelled() -> ImageDataset:
    """Twelve images, four of each class; the red level is the image's number."""
    pixels = np.zeros((12, 2, 2, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(12)[:, None, None]
    return ImageDataset.from_arrays(pixels, np.arange(12) % 3, ("apple", "pear", "rose"))


def numbers(data: ImageDataset) -> list[int]:
    return data.images(slice(None))[:, 0, 0, 0].tolist()


def test_classes_are_chosen_by_name_or_number_and_numbered_anew() -> None:
    chosen = labelled().only_classes(["rose", 0])
    assert numbers(chosen) == [0, 2, 3, 5, 6, 8, 9, 11]
    assert chosen.labels_of(slice(None)).tolist() == [1, 0, 1, 0, 1, 0, 1, 0]  # type: ignore[union-attr]
    assert chosen.classes == ("rose", "apple") and chosen.counts() == {"rose": 4, "apple": 4}
    numeric = ImageDataset.from_arrays(labelled().pixels, np.arange(12) % 3, ("1", "10", "2"))
    assert numbers(numeric.only_classes([2])) == [2, 5, 8, 11], "a name wins over a place"
    unlabelled = ImageDataset.from_arrays(
        labelled().pixels, np.where(np.arange(12) < 6, -1, np.arange(12) % 3), ("apple", "pear", "rose")
    )
    assert numbers(unlabelled.only_classes(["rose"])) == [8, 11]
    for wrong in (["rose", "rose"], []):
        with pytest.raises(ValueError, match=r"dataset\.classes="):
            labelled().only_classes(wrong)
    with pytest.raises(ValueError, match=r"dataset\.classes: there is no rosa; did you mean rose"):
        labelled().only_classes(["rosa"])
    with pytest.raises(ValueError, match="no classes to choose from"):
        ImageDataset.from_arrays(np.zeros((2, 1, 1, 1), np.uint8)).only_classes(["rose"])


def test_attributes_are_wanted_or_with_a_minus_unwanted() -> None:
    attributes = np.array([[n & 1, n >> 1 & 1] for n in range(12)], dtype=np.uint8)
    data = ImageDataset.from_arrays(labelled().pixels, attributes, ("Smiling", "Eyeglasses"))
    assert numbers(data.only_attributes(["Smiling", "-Eyeglasses"])) == [1, 5, 9]
    assert data.counts() == {"Smiling": 6, "Eyeglasses": 6} and data.multi_label
    with pytest.raises(ValueError, match=r"dataset\.attributes: there is no Smilin; did you mean Smiling"):
        data.only_attributes(["-Smilin"])
    with pytest.raises(ValueError, match="no image has them all"):
        data.only_attributes(["Smiling", "-Smiling"])
    with pytest.raises(ValueError, match="no attributes"):
        labelled().only_attributes(["Smiling"])


def test_a_limit_is_a_seeded_choice_without_repetition() -> None:
    a, b, c = (numbers(labelled().random_subset(5, seed)) for seed in (1, 1, 2))
    assert a == b != c and len(set(a)) == 5 and a == sorted(a)
    assert set(numbers(labelled().only_classes(["pear"]).random_subset(2, 0))) < {1, 4, 7, 10}
    assert numbers(labelled().random_subset(100, 0)) == list(range(12))


# -- the stream --------------------------------------------------------------------------------------------------------


def numbered(count: int) -> ImageDataset:
    return ImageDataset.from_arrays(
        np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(2, 1).repeat(2, 2), np.arange(count)
    )


def take(stream: BatchLoader, batches: int, start: int = 0) -> list[list[int]]:
    source = stream.batches(start)
    return [next(source).labels.tolist() for _ in range(batches)]  # type: ignore[union-attr]


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order() -> None:
    stream = BatchLoader(numbered(30), 10, seed=4, device=CPU)
    first, second = take(stream, 3), take(stream, 6)[3:]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(30))
    assert first != second


def test_the_rest_of_an_epoch_is_left_out_and_differs_from_epoch_to_epoch() -> None:
    stream = BatchLoader(numbered(10), 4, seed=0, device=CPU)
    assert stream.images_per_epoch == 8
    left_out = [set(range(10)) - set(chain(*take(stream, 2, start=8 * epoch))) for epoch in range(6)]
    assert all(len(rest) == 2 for rest in left_out) and len(set(map(frozenset, left_out))) > 1


def test_a_stream_goes_on_from_any_place_as_if_it_had_never_stopped() -> None:
    stream = BatchLoader(numbered(30), 4, seed=7, device=CPU)
    whole = take(stream, 20)
    assert all(take(BatchLoader(numbered(30), 4, 7, CPU), 20 - n, start=4 * n) == whole[n:] for n in (0, 3, 7, 8, 15))
    assert take(BatchLoader(numbered(30), 4, 8, CPU), 20) != whole


def test_batches_are_the_images_in_unit_range_and_memory_format() -> None:
    data = ImageDataset.from_arrays(np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8))
    batch = next(BatchLoader(data, 4, 0, CPU, torch.channels_last).batches())
    assert batch.labels is None and batch.real.is_contiguous(memory_format=torch.channels_last)
    order, _ = BatchLoader(data, 4, 0, CPU).epoch_permutation(0)
    assert torch.equal(to_uint8(batch.real), data.images(order[:4]))
    assert next(BatchLoader(data, 4, 0, CPU).batches()).real.is_contiguous()


def test_a_batch_larger_than_the_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=11 is larger than the data set, which has 10 images"):
        BatchLoader(numbered(10), 11, 0, CPU)


def test_wrapping_shows_every_image_in_every_epoch_and_resumes_across_the_seam() -> None:
    whole = take(BatchLoader(numbered(10), 4, 3, CPU, drop_last=False), 15)
    shown = list(chain(*whole))
    assert all(sorted(shown[10 * epoch : 10 * epoch + 10]) == list(range(10)) for epoch in range(6))
    for n in (1, 2, 3, 5, 8):
        assert take(BatchLoader(numbered(10), 4, 3, CPU, drop_last=False), 15 - n, start=4 * n) == whole[n:]


def test_mirroring_turns_half_of_the_images_and_the_same_ones_after_a_resume() -> None:
    pixels = np.zeros((200, 1, 2, 1), dtype=np.uint8)
    pixels[:, :, 1] = 255
    data = ImageDataset.from_arrays(pixels)

    def mirrored(start: int, batches: int) -> list[bool]:
        source = BatchLoader(data, 20, 1, CPU, mirror=True).batches(start)
        return [bool(image[0, 0, 0] > 0) for _ in range(batches) for image in next(source).real]

    whole = mirrored(0, 20)
    assert 150 < sum(whole) < 250
    assert whole[:200] != whole[200:]
    assert mirrored(140, 13) == whole[140:]


def test_a_batch_at_a_lower_resolution_is_the_mean_of_its_boxes() -> None:
    data = ImageDataset.from_arrays(np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    batch = next(BatchLoader(data, 4, 0, CPU, torch.channels_last).batches())
    boxes = batch.real.numpy().reshape(4, 3, 4, 4, 4, 4).mean((3, 5))
    np.testing.assert_allclose(batch.at(4).real, boxes, atol=1e-6)
    assert batch.at(16) is batch
    with pytest.raises(ValueError, match="16 pixels can't be averaged to 5"):
        batch.at(5)
