"""Order, mirroring, resumption and format of batches."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import BatchLoader
from gan_lab.utils.image_ops import to_uint8

CPU = torch.device("cpu")


def numbered(count: int) -> ImageDataset:
    return ImageDataset.from_arrays(
        np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(2, 1).repeat(2, 2), np.arange(count)
    )


def take(loader: BatchLoader, batches: int, start: int = 0) -> list[list[int]]:
    source = loader.batches(start)
    return [next(source).labels.tolist() for _ in range(batches)]  # type: ignore[union-attr]


def test_each_epoch_has_every_image_once_in_another_order() -> None:
    loader = BatchLoader(numbered(30), 10, seed=4, device=CPU)
    first, second = take(loader, 3), take(loader, 6)[3:]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(30))
    assert first != second


def test_drop_last_leaves_out_different_images_in_each_epoch() -> None:
    loader = BatchLoader(numbered(10), 4, seed=0, device=CPU)
    assert loader.images_per_epoch == 8
    dropped = [set(range(10)) - set(chain(*take(loader, 2, start=8 * epoch))) for epoch in range(6)]
    assert all(len(rest) == 2 for rest in dropped) and len(set(map(frozenset, dropped))) > 1


def test_batches_continue_identically_from_any_position() -> None:
    loader = BatchLoader(numbered(30), 4, seed=7, device=CPU)
    whole = take(loader, 20)
    assert all(take(BatchLoader(numbered(30), 4, 7, CPU), 20 - n, start=4 * n) == whole[n:] for n in (0, 3, 7, 8, 15))
    assert take(BatchLoader(numbered(30), 4, 8, CPU), 20) != whole


def test_each_step_of_an_iteration_may_have_its_own_reals() -> None:
    """Half the images count as seen; processes together have the same halves as one."""
    single = BatchLoader(numbered(30), 4, 7, CPU)
    double = BatchLoader(numbered(30), 4, 7, CPU, reals_per_image=2)
    wanted = take(single, 20)
    assert take(double, 10) == [a + b for a, b in zip(wanted[::2], wanted[1::2], strict=True)]
    assert take(double, 4, start=4 * 6) == take(double, 10)[6:]
    shards = [lambda n: slice(n // 2), lambda n: slice(n // 2, n)]
    parts = [next(BatchLoader(numbered(30), 4, 7, CPU, part=shard, reals_per_image=2).batches()) for shard in shards]
    for half, whole in enumerate(wanted[:2]):
        assert [n for part in parts for n in part.halves()[half].labels.tolist()] == whole  # type: ignore[union-attr]
        assert [n for part in parts for n in to_uint8(part.halves()[half].real)[:, 0, 0, 0].tolist()] == whole
    with pytest.raises(ValueError, match="batch_size=16 with reuse_reals=false needs twice as many images and is larger"):
        BatchLoader(numbered(30), 16, 7, CPU, reals_per_image=2)


def test_batches_have_the_value_range_and_memory_format_of_the_networks() -> None:
    data = ImageDataset.from_arrays(np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8))
    batch = next(BatchLoader(data, 4, 0, CPU, torch.channels_last).batches())
    assert batch.labels is None and batch.real.is_contiguous(memory_format=torch.channels_last)
    order, _ = BatchLoader(data, 4, 0, CPU).epoch_permutation(0)
    assert torch.equal(to_uint8(batch.real), data.images(order[:4]))
    assert next(BatchLoader(data, 4, 0, CPU).batches()).real.is_contiguous()


def test_a_batch_larger_than_the_dataset_is_rejected() -> None:
    with pytest.raises(ValueError, match="batch_size=11 is larger than the dataset, which has 10 images"):
        BatchLoader(numbered(10), 11, 0, CPU)


def test_without_drop_last_every_epoch_has_every_image() -> None:
    whole = take(BatchLoader(numbered(10), 4, 3, CPU, drop_last=False), 15)
    seen = list(chain(*whole))
    assert all(sorted(seen[10 * epoch : 10 * epoch + 10]) == list(range(10)) for epoch in range(6))
    for n in (1, 2, 3, 5, 8):
        assert take(BatchLoader(numbered(10), 4, 3, CPU, drop_last=False), 15 - n, start=4 * n) == whole[n:]


def test_mirror_flips_half_of_the_images_and_the_same_ones_after_a_resume() -> None:
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


def test_a_batch_at_a_lower_resolution_is_average_pooled() -> None:
    data = ImageDataset.from_arrays(np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    batch = next(BatchLoader(data, 4, 0, CPU, torch.channels_last).batches())
    boxes = batch.real.numpy().reshape(4, 3, 4, 4, 4, 4).mean((3, 5))
    np.testing.assert_allclose(batch.at(4).real, boxes, atol=1e-6)
    assert batch.at(16) is batch
    with pytest.raises(ValueError, match="16 pixels can't be averaged to 5"):
        batch.at(5)
