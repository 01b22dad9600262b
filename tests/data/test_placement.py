"""Where images are kept: the batches are the same from host memory, the device's memory and a ring of host buffers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transfers import DelayedTransfer, ImmediateTransfer

from gan_lab.data import placement
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import Batch, BatchLoader
from gan_lab.data.placement import (
    STAGING_BUFFERS,
    CUDATransfer,
    DevicePlacement,
    HostPlacement,
    Placement,
    StreamedPlacement,
    choose_placement,
)

CPU = torch.device("cpu")
LABELS: dict[str, Callable[[np.random.Generator, int], np.ndarray | None]] = {
    "no labels": lambda rng, count: None,
    "classes": lambda rng, count: rng.integers(-1, 10, count),
    "attributes": lambda rng, count: rng.integers(0, 2, (count, 5), dtype=np.uint8),
}


def dataset(count: int = 37, labels: str = "classes", channels: int = 3) -> ImageDataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 6, 7, channels), dtype=np.uint8)
    return ImageDataset.from_arrays(pixels, LABELS[labels](rng, count), [str(n) for n in range(10)])


class FullTransfer(ImmediateTransfer):
    """A transfer to a device on which memory runs out after some copies."""

    def copy(self, source: Tensor, target: Tensor) -> None:
        super().copy(source, target)
        if self.requested == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def take(
    data: ImageDataset, place: Placement, count: int = 12, start: int = 0, sizes: Sequence[int] = (), **arguments: Any
) -> list[Batch]:
    loader = BatchLoader(data, 8, 3, CPU, placement=place, **arguments)
    size_at = (lambda images: sizes[images % len(sizes)]) if sizes else None
    source = loader.batches(start, size_at)
    return [next(source) for _ in range(count)]


def assert_equal(batches: Sequence[Batch], expected: Sequence[Batch]) -> None:
    """Equal values, types and strides."""
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        for tensor, reference in zip(batch, other, strict=True):
            assert (tensor is None) == (reference is None)
            if tensor is not None:
                tensor = tensor.cpu()
                assert tensor.dtype == reference.dtype and tensor.stride() == reference.stride()
                assert torch.equal(tensor, reference)


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"mirror": True},
    {"mirror": True, "drop_last": False, "memory_format": torch.channels_last},
    {"sizes": (8, 3, 5, 16), "drop_last": False},
    {"part": lambda n: slice(n // 2, n), "mirror": True},
    {"dtype": torch.float64, "start": 104},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda a: ", ".join(a) or "defaults")
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_equal_for_all_placements(
    labels: str, channels: int, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "CHUNK_BYTES", 500)  # a few images
    for data in (dataset(37, labels, channels), dataset(61, labels, channels).subset(np.arange(3, 60, 2))):
        expected = take(data, HostPlacement(data, CPU), **arguments)
        assert_equal(take(data, DevicePlacement(data, DelayedTransfer()), **arguments), expected)
        assert_equal(take(data, StreamedPlacement(data, ImmediateTransfer()), **arguments), expected)


def test_a_run_can_be_resumed_with_another_placement() -> None:
    data = dataset()
    whole = take(data, HostPlacement(data, CPU), 12, mirror=True)
    assert_equal(take(data, DevicePlacement(data, ImmediateTransfer()), 5, start=8 * 7, mirror=True), whole[7:])
    assert_equal(take(data, StreamedPlacement(data, ImmediateTransfer()), 5, start=8 * 7, mirror=True), whole[7:])


def test_a_buffer_is_refilled_only_after_its_copy_has_finished() -> None:
    data, transfer = dataset(), DelayedTransfer()
    place, host = StreamedPlacement(data, transfer), HostPlacement(data, CPU)
    rng = torch.Generator().manual_seed(0)
    indices = [torch.randperm(len(data), generator=rng)[: 5 + n % 4] for n in range(20)]
    batches = [place.gather(which) for which in indices]
    assert 0 < transfer.requested - transfer.finished <= 2 * STAGING_BUFFERS, "a copy is awaited as late as possible"
    transfer.finish(transfer.requested)
    for which, (images, labels) in zip(indices, batches, strict=True):
        expected_images, expected_labels = host.gather(which)
        assert torch.equal(images, expected_images) and torch.equal(labels, expected_labels)  # type: ignore[arg-type]
        assert images.stride() == expected_images.stride()


def test_buffers_are_allocated_once_and_again_only_for_larger_batches() -> None:
    data, transfer = dataset(), ImmediateTransfer()
    place = StreamedPlacement(data, transfer)
    for size in (8, 8, 8, 4, 8, 1):
        place.gather(torch.arange(size))
    assert transfer.allocated == 2 * STAGING_BUFFERS  # pixels and labels
    for size in (16, 16, 16):
        place.gather(torch.arange(size))
    assert transfer.allocated == 4 * STAGING_BUFFERS


def test_the_placement_follows_from_the_free_memory() -> None:
    data = dataset(40, "attributes").subset(np.arange(20))
    needed = 20 * (6 * 7 * 3 + 5)
    assert type(choose_placement(data, CPU, 1.0)) is HostPlacement
    on_device = choose_placement(data, CPU, 0.25, ImmediateTransfer(4 * needed))
    assert type(on_device) is DevicePlacement and on_device.description == "on the device (0.0 MiB)"
    for fraction, free in ((0.25, 4 * needed - 1), (0.0, 2**40)):
        streamed = choose_placement(data, CPU, fraction, ImmediateTransfer(free))
        assert type(streamed) is StreamedPlacement and streamed.description == "streamed from host memory"


def test_images_are_streamed_if_memory_runs_out_during_the_copy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(placement, "CHUNK_BYTES", 500)
    data, transfer = dataset(), FullTransfer()
    with caplog.at_level(logging.WARNING):
        place = choose_placement(data, CPU, 0.5, transfer)
    assert type(place) is StreamedPlacement
    assert [record.message for record in caplog.records] == [
        "data_memory_fraction=0.5: memory ran out while the dataset (0.0 MiB) was copied to the GPU; it is streamed from "
        "host memory instead"
    ]
    assert_equal(take(data, place), take(data, HostPlacement(data, CPU)))


def test_other_errors_of_the_copy_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, source: Tensor, target: Tensor) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(ImmediateTransfer, "copy", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        choose_placement(dataset(), CPU, 0.5, ImmediateTransfer())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda a: ", ".join(a) or "defaults")
@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_batches_on_a_gpu_are_equal_for_all_placements(fraction: float, arguments: dict[str, Any]) -> None:
    device, data = torch.device("cuda"), dataset(3000)
    arguments = dict(arguments)
    start, sizes = arguments.pop("start", 0), arguments.pop("sizes", ())
    size_at = (lambda images: sizes[images % len(sizes)]) if sizes else None
    places = [HostPlacement(data, device), choose_placement(data, device, fraction)]
    assert places[1].on_device == (fraction > 0)
    loaders = [BatchLoader(data, 8, 3, device, placement=place, **arguments) for place in places]
    expected, batches = (
        [Batch(*(t if t is None else t.cpu() for t in batch)) for batch, _ in zip(source, range(500), strict=False)]
        for source in (loader.batches(start, size_at) for loader in loaders)
    )
    assert_equal(batches, expected)
    assert CUDATransfer(device).free_bytes() > 0
