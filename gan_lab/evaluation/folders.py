"""Scores of images in folders, whatever made them."""

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
from gan_lab.data.parallel_decoding import ImageFormat, decode_in_parallel
from gan_lab.data.raw_images import RawImages
from gan_lab.evaluation import records
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.runtime.device import choose_device
from gan_lab.utils.terminal import STDOUT, progress_bar

log = logging.getLogger(__name__)


def evaluate_folders(cfg: DictConfig) -> None:
    """The suite on two sets of images; all of both are taken."""
    if not cfg.evaluation.metrics:
        raise ValueError("evaluation=none measures nothing; evaluation=fast or evaluation=full do")
    if cfg.out:
        records.check_writable(Path(cfg.out).expanduser())
    listed = {name: list_images(name, cfg[name]) for name in ("fakes", "reals")}
    fakes, reals = (load(name, cfg[name], pictures) for name, pictures in listed.items())
    if fakes.shape != reals.shape:
        raise ValueError(
            f"fakes={cfg.fakes} has images of {_spell(fakes)} and reals={cfg.reals} of {_spell(reals)}: a score would measure "
            "that difference; make them alike first"
        )
    for protocol in cfg.protocol.values():
        protocol.num_fakes, protocol.num_reals = len(fakes), None
    channels, size, _ = reals.shape
    suite = build_suite(cfg, FeatureDomain("", channels, size), reals, _no_split)
    device = choose_device(cfg.device)
    with progress_bar("reals", "images") as progress:
        suite.prepare(device, progress)
    with progress_bar("fakes", "images") as progress:
        results = suite(ReplayedImages(_under_names_of(reals, fakes), device), progress, details=True)
    entry = records.record({"fakes": str(cfg.fakes), "reals": str(cfg.reals)}, results)
    records.print_scores({Path(cfg.fakes).name: entry})
    if cfg.out:
        records.append(Path(cfg.out).expanduser(), [entry])
        STDOUT.print(f"\n{cfg.out}")


def _under_names_of(reals: ImageDataset, fakes: ImageDataset) -> ImageDataset:
    """The fakes with their labels numbered as the reals' classes are; without labels where a class has no namesake."""
    if fakes.labels is None or fakes.multi_label or reals.labels is None or reals.multi_label:
        return replace(fakes, labels=None, classes=())
    if unknown := [name for name in fakes.classes if name not in reals.classes]:
        log.warning("classes are not compared: the reals have no %s", ", ".join(unknown[:5]))
        return replace(fakes, labels=None, classes=())
    numbers = np.array([*(reals.classes.index(name) for name in fakes.classes), -1])
    return replace(fakes, labels=numbers[fakes.labels], classes=reals.classes)


class ReplayedImages:
    """A set of images that is given out like a generator's, in its order."""

    def __init__(self, data: ImageDataset, device: torch.device) -> None:
        self._data, self._device, self._given = data, device, 0

    def __call__(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        part = slice(self._given, self._given + count)
        self._given += count
        labels = None if self._data.multi_label else self._data.labels_of(part)
        return self._data.images(part).to(self._device), labels


def load(what: str, path: str, pictures: RawImages) -> ImageDataset:
    """All of some pictures, as they are.

    Nothing is kept: pictures that were made anew under their old names would not be noticed.

    Raises:
        ValueError: there is nothing, or nothing that can be read, or not all are squares of one size.
    """
    if len(pictures) < 2:
        raise ValueError(f"{what}={path}: {len(pictures)} image; scores need at least 2")
    shape = _shape_of(what, path, pictures)
    parts: list[np.ndarray] = []
    bad: dict[int, str] = {}
    with progress_bar(f"reading {what}", "images") as progress:
        for following, pixels, unreadable in decode_in_parallel(pictures, shape, 0, 1):
            parts.append(pixels.copy())
            bad |= unreadable
            progress(following, len(pictures))
    if bad:
        number, why = next(iter(bad.items()))
        raise ValueError(f"{what}={path}: {len(bad)} can't be read, such as {pictures.name(number)} ({why})")
    return ImageDataset.from_arrays(np.concatenate(parts), pictures.labels, pictures.classes)


def list_images(what: str, path: str) -> RawImages:
    """The pictures of a folder, a zip or an array, none opened yet.

    Raises:
        ValueError: there are none.
    """
    source = Folder(path=path, name=what, root=".", size=1, channels=3, resize_mode="crop", split="all")
    try:
        return source.raw_images()
    except ValueError as error:
        raise ValueError(str(error).replace("dataset.path=", f"{what}=")) from error


def _shape_of(what: str, path: str, pictures: RawImages) -> ImageFormat:
    """That of all of them."""
    names: dict[tuple[int, int], str] = {}
    grey = True
    for number, (size, mode) in enumerate(headers(pictures)):
        names.setdefault(size, pictures.name(number))
        grey = grey and mode in GRAY_MODES
        if len(names) > 1:
            (a, first), (b, second) = names.items()
            raise ValueError(
                f"{what}={path}: mixed sizes: {first} has {a[0]}x{a[1]} pixels and {second} {b[0]}x{b[1]}; "
                "dataset=folder with gan_lab.prepare shows how to make them one size"
            )
    ((width, height),) = names
    if width != height:
        raise ValueError(f"{what}={path}: images of {width}x{height} pixels; they must be squares")
    return ImageFormat(width, 1 if grey else 3, "resize")


def headers(pictures: RawImages) -> Iterator[tuple[tuple[int, int], str]]:
    """Width and height, and the mode, of each picture, none decoded."""
    for number in range(len(pictures)):
        try:
            with pictures.open(number) as picture:
                yield picture.size, picture.mode
        except OSError as error:
            raise ValueError(f"{pictures.name(number)} can't be read ({error})") from error


def _spell(data: ImageDataset) -> str:
    channels, height, width = data.shape
    return f"{width}x{height} pixels in {'colour' if channels == 3 else 'grey'}"


def _no_split(name: str) -> ImageDataset:
    raise ValueError(f"protocol: a folder has no {name} split; the folder given as reals is what it is compared with")
