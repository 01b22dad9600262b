"""Scores images in files: folders, zips or arrays of fakes and reals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab.building.metrics import build_suite
from gan_lab.data.datasets.folder import Folder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.image_decoding import GRAY_MODES
from gan_lab.data.image_files import warn_of_passed_over
from gan_lab.data.parallel_decoding import ImageFormat, decode_in_parallel
from gan_lab.data.raw_images import RawImages
from gan_lab.evaluation import records
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.runtime.device import choose_device
from gan_lab.utils.formatting import format_count
from gan_lab.utils.suggestions import index_of_name
from gan_lab.utils.terminal import STDOUT, progress_bar

log = logging.getLogger(__name__)


def evaluate_folders(cfg: DictConfig) -> None:
    """Compute all metrics of ``cfg.fakes`` against ``cfg.reals``; all images of both are used.

    Raises:
        ValueError: no metric is configured, images can't be read, or fakes and reals have different sizes or channels.
    """
    if not cfg.evaluation.metrics:
        raise ValueError("evaluation=none measures nothing; use evaluation=fast or full")
    if cfg.out:
        records.check_writable(Path(cfg.out).expanduser())
    listed = {key: list_images(key, cfg[key]) for key in ("fakes", "reals")}
    fakes, reals = (load_images(key, cfg[key], images) for key, images in listed.items())
    if fakes.shape != reals.shape:
        raise ValueError(
            f"fakes={cfg.fakes} has images of {_format_shape(fakes)} and reals={cfg.reals} of {_format_shape(reals)}; convert "
            "them to the same size and colors first, or the scores would measure this difference"
        )
    for protocol in cfg.protocol.values():
        protocol.num_fakes, protocol.num_reals = len(fakes), None
    channels, size, _ = reals.shape
    suite = build_suite(cfg, FeatureDomain("", channels, size), reals, _no_split, f"images of {cfg.reals}")
    device = choose_device(cfg.device)
    with progress_bar("reals", "images") as progress:
        suite.prepare(device, progress)
    with progress_bar("fakes", "images") as progress:
        results = suite(ReplayedImages(_match_classes(fakes, reals), device), progress, details=True)
    entry = records.record({"fakes": str(cfg.fakes), "reals": str(cfg.reals)}, results)
    records.print_scores({Path(cfg.fakes).name: entry})
    if cfg.out:
        records.append(Path(cfg.out).expanduser(), [entry])
        STDOUT.print(f"\n{cfg.out}")


def _match_classes(fakes: ImageDataset, reals: ImageDataset) -> ImageDataset:
    """``fakes`` with the class indices of ``reals``, matched by name in any case; without labels if a class is not there."""
    if fakes.labels is None or fakes.multi_label or reals.labels is None or reals.multi_label:
        return replace(fakes, labels=None, classes=())
    try:
        numbers = np.array([*(index_of_name(name, reals.classes, "classes of the reals") for name in fakes.classes), -1])
    except ValueError as error:
        log.warning("labels are not used: %s", error)
        return replace(fakes, labels=None, classes=())
    return replace(fakes, labels=numbers[fakes.labels], classes=reals.classes)


class ReplayedImages:
    """Returns the images of a set in order, as a :data:`~gan_lab.metrics.suite.Generate`."""

    def __init__(self, data: ImageDataset, device: torch.device) -> None:
        self._data, self._device, self._position = data, device, 0

    def __call__(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        part = slice(self._position, self._position + count)
        self._position += count
        labels = None if self._data.multi_label else self._data.labels_of(part)
        return self._data.images(part).to(self._device), labels


def load_images(key: str, path: str, images: RawImages) -> ImageDataset:
    """Decode all images without resizing. They are not cached, because the files may change under the same names.

    Args:
        key: ``fakes`` or ``reals``, for messages.
        path: value of the key, for messages.
        images: the files.

    Raises:
        ValueError: there are fewer than 2 images, some can't be read, or they are not squares of the same size.
    """
    if len(images) < 2:
        raise ValueError(f"{key}={path}: has {format_count(len(images), 'image')}, but scores need at least 2")
    image_format = _common_format(key, path, images)
    parts: list[np.ndarray] = []
    errors: dict[int, str] = {}
    with progress_bar(f"reading {key}", "images") as progress:
        for chunk in decode_in_parallel(images, image_format, 0, 1):
            parts.append(chunk.pixels.copy())
            errors |= chunk.unreadable
            progress(chunk.next_index, len(images))
    if errors:
        number, reason = next(iter(errors.items()))
        raise ValueError(
            f"{key}={path}: {format_count(len(errors), 'image')} can't be read, such as {images.name(number)} ({reason})"
        )
    return ImageDataset.from_arrays(np.concatenate(parts), images.labels, images.classes)


def list_images(key: str, path: str) -> RawImages:
    """List the images of a folder, zip or array without opening them.

    Args:
        key: ``fakes`` or ``reals``, for messages.
        path: of the folder, zip or array.

    Raises:
        ValueError: there are none.
    """
    source = Folder(path=path, name=key, root=".", size=1, channels=3, resize_mode="crop", split="all")
    try:
        images = source.raw_images()
    except ValueError as error:
        raise ValueError(str(error).replace("dataset.path=", f"{key}=")) from error
    warn_of_passed_over(f"{key}={path}", images.passed_over)
    return images


def _common_format(key: str, path: str, images: RawImages) -> ImageFormat:
    """The size of the images, and one channel if all are gray, else three.

    Raises:
        ValueError: sizes differ, or the images are not square.
    """
    examples: dict[tuple[int, int], str] = {}
    gray = True
    for number, (size, mode) in enumerate(headers(images)):
        examples.setdefault(size, images.name(number))
        gray = gray and mode in GRAY_MODES
        if len(examples) > 1:
            (a, first), (b, second) = examples.items()
            raise ValueError(
                f"{key}={path}: mixed sizes: {first} has {a[0]}x{a[1]} pixels and {second} has {b[0]}x{b[1]}; resize them "
                "to one size"
            )
    ((width, height),) = examples
    if width != height:
        raise ValueError(f"{key}={path}: images must be square, not {width}x{height} pixels")
    return ImageFormat(width, 1 if gray else 3, "resize")


def headers(images: RawImages) -> Iterator[tuple[tuple[int, int], str]]:
    """``(width, height)`` and Pillow's mode of each image, read without decoding the pixels.

    Raises:
        ValueError: an image can't be read.
    """
    for number in range(len(images)):
        try:
            with images.open(number) as image:
                yield image.size, image.mode
        except Exception as error:  # decoders raise many types for damaged files
            raise ValueError(f"{images.name(number)} can't be read ({error})") from error


def _format_shape(data: ImageDataset) -> str:
    channels, height, width = data.shape
    return f"{width}x{height} pixels in {'color' if channels == 3 else 'grayscale'}"


def _no_split(name: str) -> ImageDataset:
    raise ValueError(f"protocol: a folder has no {name} split; choose a protocol without split, which uses reals=...")
