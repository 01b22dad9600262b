"""What every source of images has in common."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.image_decoding import RESIZE_MODES, WHOLE
from gan_lab.data.packed_file import PackedDataset, VariableSizePixels
from gan_lab.data.packing import pack_dataset
from gan_lab.data.parallel_decoding import ImageFormat
from gan_lab.data.raw_images import RawImages
from gan_lab.runtime.device import available_cores
from gan_lab.storage.downloads import Checksum, obtain_file
from gan_lab.utils.progress import Progress, silent

IN_MEMORY = 256 * 2**20
"""Bytes of pixels up to which a set is read into memory; larger ones stay mapped, and the system keeps what is used."""


class DatasetBuilder(ABC):
    """A data set in the shape a model wants it.

    Args:
        name: as in the configuration; for messages and the packed file's name.
        root: folder of all data sets; packed files go to ``packed/`` in it.
        size: height and width in pixels, but of whole pictures.
        channels: 1 grey, 3 colour.
        resize_mode: how an image meets ``size``: ``pad``, ``resize`` or ``crop``; ``whole``: it keeps its own size.
        split: which part of it; see :attr:`splits`.
        classes: take only these classes, by name or number; None takes all.
        attributes: take only images that have these attributes; ``-name`` those that don't.
        limit: take only so many images, a random choice that depends on ``seed`` alone; None takes all.
        seed: of that choice.
        max_corrupt_fraction: share of unreadable images up to which they are left out with a warning.
        num_workers: processes (threads, for few images) that decode; None takes as many as there are processors for this one.
        download: whether what is missing may be fetched.
        mirror, drop_last: how a :class:`gan_lab.data.loader.BatchLoader` shows the images; see there.
    """

    splits: tuple[str, ...] = ("all",)
    """Splits this source has."""

    def __init__(
        self,
        *,
        name: str,
        root: str,
        size: int,
        channels: int,
        resize_mode: str,
        split: str = "all",
        classes: list[str | int] | None = None,
        attributes: list[str] | None = None,
        limit: int | None = None,
        seed: int = 0,
        max_corrupt_fraction: float = 0.001,
        num_workers: int | None = None,
        download: bool = True,
        mirror: bool = False,
        drop_last: bool = True,
    ) -> None:
        if not 1 <= size <= 8192:
            raise ValueError(f"dataset.size={size}: must be 1 to 8192 pixels")
        if channels not in (1, 3):
            raise ValueError(f"dataset.channels={channels}: must be 1 (grey) or 3 (colour)")
        if resize_mode not in RESIZE_MODES:
            raise ValueError(f"dataset.resize_mode={resize_mode}: must be one of {', '.join(RESIZE_MODES)}")
        if split not in self.splits:
            raise ValueError(f"dataset.split={split}: {name} has {', '.join(self.splits)}")
        if limit is not None and limit < 1:
            raise ValueError(f"dataset.limit={limit}: must be at least 1 image")
        if not 0 <= max_corrupt_fraction <= 1:
            raise ValueError(f"dataset.max_corrupt_fraction={max_corrupt_fraction}: a share, 0 to 1")
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"dataset.num_workers={num_workers}: must be at least 1")
        self.name, self.split, self.download = name, split, download
        self.mirror, self.drop_last = mirror, drop_last
        self.root = Path(root).expanduser()
        self.image_format = ImageFormat(0 if resize_mode == WHOLE else size, channels, resize_mode, self.precrop())
        self._classes: Sequence[str | int] | None = classes
        self._attributes, self._limit, self._seed = attributes, limit, seed
        self._max_corrupt_fraction, self._num_workers = max_corrupt_fraction, num_workers or available_cores()

    @abstractmethod
    def raw_images(self) -> RawImages:
        """The stored pictures of the split.

        Raises:
            ValueError: they are missing, incomplete or damaged.
        """

    def identity(self) -> dict[str, Any]:
        """What distinguishes this source from another of the same name, besides its shape."""
        return {"source": type(self).__name__, "split": self.split}

    @property
    def domain(self) -> str:
        """What its images show, as a name for features that know them: the same for all splits and sizes."""
        return self.name

    def published_file(self, folder: Path, name: str, urls: Sequence[str], md5: str) -> Path:
        """The published file ``name`` in ``folder``, downloaded if it is missing and downloads are allowed.

        Raises:
            ValueError: it is missing, or its MD5 sum differs.
        """
        addresses = urls if self.download else ()
        needed_by, advice = f"dataset={self.name}", "set paths.data"
        return obtain_file(folder, [name], addresses, Checksum("md5", md5), needed_by, advice, show_progress=True)

    def precrop(self) -> int | None:
        """Side of the central square cut out of each stored picture before it is fitted."""
        return None

    def packed(self, progress: Progress = silent) -> PackedDataset:
        """The packed file of the whole split, made when it isn't there."""
        return pack_dataset(
            self.packed_path(),
            self._checked_pictures,
            self.image_format,
            self.identity(),
            is_current=_is_current,
            max_corrupt_fraction=self._max_corrupt_fraction,
            num_workers=self._num_workers,
            progress=progress,
        )

    def packed_path(self) -> Path:
        """Another size, resize_mode, split or folder is another file."""
        described = json.dumps([self.identity(), self.image_format.identity()], sort_keys=True)
        key = hashlib.sha256(described.encode()).hexdigest()[:8]
        size = WHOLE if self.image_format.is_whole else self.image_format.size
        return self.root / "packed" / f"{self.name}-{self.split}-{size}x{self.image_format.channels}-{key}.pack"

    def load(self, progress: Progress = silent) -> ImageDataset:
        """The images that ``classes``, ``attributes`` and ``limit`` leave, prepared first if they are not.

        Raises:
            ValueError: the source can't be had, or nothing is left.
        """
        packed = self.packed(progress)
        pixels = packed.pixels
        if pixels.nbytes <= IN_MEMORY:
            pixels = pixels.in_memory() if isinstance(pixels, VariableSizePixels) else np.array(pixels)
        origin = f"crc32 {packed.manifest['crc32']:08x}"
        return self.select(ImageDataset.from_arrays(pixels, packed.labels, packed.manifest["classes"], origin))

    def select(self, data: ImageDataset) -> ImageDataset:
        """The part of a whole split that the configuration asks for."""
        if self._classes is not None:
            data = data.only_classes(self._classes)
        if self._attributes is not None:
            data = data.only_attributes(self._attributes)
        return data if self._limit is None else data.random_subset(self._limit, self._seed)

    def _checked_pictures(self) -> RawImages:
        pictures = self.raw_images()
        if len(pictures) == 0:
            raise ValueError(f"dataset={self.name}: no picture in split {self.split}")
        return pictures


def _is_current(packed: PackedDataset) -> bool:
    """Whether nothing that was packed has changed since; what is gone altogether does not count as changed."""
    for path, changed in packed.manifest["watched"].items():
        try:
            if Path(path).stat().st_mtime_ns != changed:
                return False
        except OSError:  # gone, or out of reach
            continue
    return True
