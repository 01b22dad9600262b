"""The base class of all dataset builders."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.image_decoding import RESIZE_MODES, WHOLE
from gan_lab.data.image_files import path_state, warn_of_passed_over
from gan_lab.data.packed_file import PackedDataset, VariableSizePixels
from gan_lab.data.packing import pack_dataset
from gan_lab.data.parallel_decoding import ImageFormat
from gan_lab.data.raw_images import RawImages
from gan_lab.runtime.device import available_cores
from gan_lab.storage.downloads import Checksum, obtain_file
from gan_lab.utils.progress import Progress, silent
from gan_lab.utils.suggestions import as_names

IN_MEMORY = 256 * 2**20
"""Largest size of the pixels, in bytes, that :meth:`DatasetBuilder.load` reads into memory; larger files are memory-mapped."""


class DatasetBuilder(ABC):
    """Reads stored images and prepares them in the size and format of the configuration.

    Args:
        name: option name in the configuration; used in messages and in the packed file's name.
        root: directory of all datasets; packed files are written to its subdirectory ``packed``.
        size: height and width of the prepared images in pixels, 1 to 8192; ignored with ``resize_mode="whole"``.
        channels: 1 for grayscale, 3 for color.
        resize_mode: how an image is brought to ``size``: ``pad``, ``resize`` or ``crop``; ``whole`` keeps its original size.
        split: one of :attr:`splits`.
        classes: name or index of the class to keep, or a list of several; None keeps all.
        attributes: keep images that have the attribute (``name``) or do not have it (``-name``), or a list; None keeps all.
        limit: size of a random subset of the images; None uses all.
        seed: seed of that subset.
        max_corrupt_fraction: largest fraction of unreadable images that are skipped with a warning; above it, loading fails.
        num_workers: processes (threads, for few images) that decode; None uses all cores available to this process.
        download: whether missing files may be downloaded.
        mirror, drop_last: see :class:`gan_lab.data.loader.BatchLoader`.

    Raises:
        ValueError: an argument is out of range.
    """

    splits: tuple[str, ...] = ("all",)
    """Names of the splits that this dataset has."""

    def __init__(
        self,
        *,
        name: str,
        root: str,
        size: int,
        channels: int,
        resize_mode: str,
        split: str = "all",
        classes: Any = None,
        attributes: Any = None,
        limit: int | None = None,
        seed: int = 0,
        max_corrupt_fraction: float = 0.001,
        num_workers: int | None = None,
        download: bool = True,
        mirror: bool = False,
        drop_last: bool = True,
    ) -> None:
        if not name or set(name) & set("/\\\0"):
            raise ValueError(f"dataset.name={name!r}: must be a name without slashes; the packed file is called after it")
        if not 1 <= size <= 8192:
            raise ValueError(f"dataset.size={size}: must be 1 to 8192 pixels")
        if channels not in (1, 3):
            raise ValueError(f"dataset.channels={channels}: must be 1 (grayscale) or 3 (color)")
        if resize_mode not in RESIZE_MODES:
            raise ValueError(f"dataset.resize_mode={resize_mode}: must be one of {', '.join(RESIZE_MODES)}")
        if split not in self.splits:
            raise ValueError(f"dataset.split={split}: the splits of {name} are {', '.join(self.splits)}")
        if limit is not None and limit < 1:
            raise ValueError(f"dataset.limit={limit}: must be at least 1 image, or null for all")
        if not 0 <= max_corrupt_fraction <= 1:
            raise ValueError(f"dataset.max_corrupt_fraction={max_corrupt_fraction}: must lie in [0, 1]")
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"dataset.num_workers={num_workers}: must be at least 1, or null for all cores")
        self.name, self.split, self.download = name, split, download
        self.mirror, self.drop_last = mirror, drop_last
        self.root = Path(root).expanduser()
        self.image_format = ImageFormat(0 if resize_mode == WHOLE else size, channels, resize_mode, self.precrop())
        self._classes, self._attributes = as_names(classes, "dataset.classes"), as_names(attributes, "dataset.attributes")
        self._limit, self._seed = limit, seed
        self._max_corrupt_fraction, self._num_workers = max_corrupt_fraction, num_workers or available_cores()

    @abstractmethod
    def raw_images(self) -> RawImages:
        """The stored images of the split, before decoding.

        Raises:
            ValueError: files are missing, incomplete or damaged.
        """

    def identity(self) -> dict[str, Any]:
        """JSON-serializable values that, with the image format, determine the content; part of the packed file's name."""
        return {"source": type(self).__name__, "split": self.split}

    @property
    def domain(self) -> str:
        """Name of the kind of images, for feature networks trained on them; the same for all splits and sizes."""
        return self.name

    def published_file(self, folder: Path, name: str, urls: Sequence[str], md5: str) -> Path:
        """The published file ``name`` in ``folder``, downloaded if it is missing and downloads are allowed.

        Raises:
            ValueError: the file is missing and can't be downloaded, or its MD5 checksum differs.
        """
        allowed_urls = urls if self.download else ()
        needed_by, advice = f"dataset={self.name}", "set paths.data"
        return obtain_file(folder, [name], allowed_urls, Checksum("md5", md5), needed_by, advice, show_progress=True)

    def precrop(self) -> int | None:
        """Side in pixels of the central square that is cropped before resizing; None for no crop."""
        return None

    def packed(self, progress: Progress = silent) -> PackedDataset:
        """Open the packed file of the whole split; create it first if it is missing or outdated."""
        return pack_dataset(
            self.packed_path(),
            self._nonempty_raw_images,
            self.image_format,
            self.identity(),
            is_current=_is_current,
            max_corrupt_fraction=self._max_corrupt_fraction,
            num_workers=self._num_workers,
            progress=progress,
        )

    def packed_path(self) -> Path:
        """Path of the packed file; it depends on the image format, the split and :meth:`identity`."""
        described = json.dumps([self.identity(), self.image_format.identity()], sort_keys=True)
        key = hashlib.sha256(described.encode()).hexdigest()[:8]
        size = WHOLE if self.image_format.is_whole else self.image_format.size
        return self.root / "packed" / f"{self.name}-{self.split}-{size}x{self.image_format.channels}-{key}.pack"

    def load(self, progress: Progress = silent) -> ImageDataset:
        """The images selected by ``classes``, ``attributes`` and ``limit``; packs the split first if necessary.

        Raises:
            ValueError: files are missing or damaged, or no image is selected.
        """
        packed = self.packed(progress)
        pixels = packed.pixels
        if pixels.nbytes <= IN_MEMORY:
            packed.check_content()
            pixels = pixels.in_memory() if isinstance(pixels, VariableSizePixels) else np.array(pixels)
        origin = f"crc32 {packed.manifest['crc32']:08x}"
        data = ImageDataset.from_arrays(pixels, packed.labels, packed.manifest["classes"], origin)
        return self.select(replace(data, enlarged=packed.manifest.get("enlarged", 0)))

    def stored_name(self, row: int) -> str:
        """Name of the stored image in a row of the packed file, for messages: its path if the source is still there."""
        try:
            raw_images = self.raw_images()
            unreadable = self.packed().manifest["bad"]
            names = [name for name in map(raw_images.name, range(len(raw_images))) if name not in unreadable]
            return names[row]
        except (ValueError, OSError, IndexError):
            return f"image {row}"

    def select(self, data: ImageDataset) -> ImageDataset:
        """Apply ``classes``, ``attributes`` and ``limit`` to a whole split, in this order."""
        if self._classes is not None:
            data = data.only_classes(self._classes)
        if self._attributes is not None:
            data = data.only_attributes(self._attributes)
        return data if self._limit is None else data.random_subset(self._limit, self._seed)

    def _nonempty_raw_images(self) -> RawImages:
        raw_images = self.raw_images()
        if len(raw_images) == 0:
            raise ValueError(f"dataset={self.name}: split {self.split} contains no images")
        warn_of_passed_over(f"dataset={self.name}", raw_images.passed_over)
        return raw_images


def _is_current(packed: PackedDataset) -> bool:
    """Whether all sources are as they were when they were packed. One that is gone is ignored: the packed file is all there is.

    Earlier versions stored modification times, which equal no state.
    """
    now = {path: path_state(Path(path)) for path in packed.manifest["watched"]}
    return all(state is None or state == packed.manifest["watched"][path] for path, state in now.items())
