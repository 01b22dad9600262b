"""Statistics of a dataset: class counts, image sizes, duplicates and unreadable files, and a contact sheet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.image_decoding import RESIZE_MODES
from gan_lab.data.image_files import describe_passed_over
from gan_lab.data.packed_file import VariableSizePixels
from gan_lab.utils.image_ops import image_grid
from gan_lab.utils.progress import Progress
from gan_lab.utils.terminal import print_table

MAX_ROWS = 40
"""Rows of a table; the remaining entries are summarized in one more."""

SHEET_IMAGES, THUMBNAIL_SIZE = 100, 64
"""Number of images on the contact sheet, and their approximate side in pixels."""


@dataclass
class Inspection:
    """Statistics of the selected images and of the stored images that they come from.

    Attributes:
        data: the selected images.
        sizes: number of stored images of each (width, height); (0, 0) counts unreadable ones.
        duplicates: indices of images whose pixels equal those of an earlier image.
        unreadable: reasons why stored images can't be read, by name.
        passed_over: number of files that are no images, by ending.
    """

    data: ImageDataset
    sizes: Counter[tuple[int, int]]
    duplicates: list[int]
    unreadable: dict[str, str]
    passed_over: Mapping[str, int]

    @classmethod
    def of(cls, source: DatasetBuilder, data: ImageDataset, progress: Progress) -> Inspection:
        """Open every stored image of ``source`` and hash the pixels of every image of ``data``."""
        raw_images = source.raw_images()
        sizes: Counter[tuple[int, int]] = Counter()
        for index in range(len(raw_images)):
            try:
                with raw_images.open(index) as image:
                    sizes[image.size] += 1
            except Exception:  # the packed file's manifest has the reason
                sizes[0, 0] += 1
            if index % 256 == 0 or index + 1 == len(raw_images):
                progress(index + 1, len(raw_images))
        seen: set[bytes] = set()
        duplicates = []
        for number, row in enumerate(data.index):
            digest = hashlib.blake2b(data.pixels[row].tobytes(), digest_size=16).digest()
            if digest in seen:
                duplicates.append(number)
            seen.add(digest)
        path = source.packed_path()
        unreadable = source.packed().manifest["bad"] if path.is_file() else {}
        return cls(data, sizes, duplicates, unreadable, raw_images.passed_over)

    def print(self) -> None:
        """Print tables of the class counts and image sizes, and the numbers of duplicates and unreadable images."""
        if counts := self.data.counts():
            print_table(["attribute" if self.data.multi_label else "class", "images"], _rows(counts))
        sizes = {f"{w} x {h}" if w else "unreadable": n for (w, h), n in self.sizes.most_common()}
        reasons = [f"  {name}: {reason}" for name, reason in list(self.unreadable.items())[:MAX_ROWS]]
        others = [describe_passed_over(self.passed_over)] if self.passed_over else []
        notes = [f"{len(self.duplicates):,} duplicates", f"{len(self.unreadable):,} unreadable", *reasons, *others]
        print_table(["stored size", "images"], _rows(sizes), notes)

    def save_sheet(self, path: str | Path) -> Path:
        """Save a contact sheet of images evenly spaced over the dataset, and return its path."""
        numbers = torch.linspace(0, len(self.data) - 1, min(SHEET_IMAGES, len(self.data))).round().long()
        target = Path(path).expanduser()
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.data.pixels, VariableSizePixels):
            thumbnails = [RESIZE_MODES["pad"](self.data.pixels[self.data.index[n]], THUMBNAIL_SIZE) for n in numbers]
            image_grid(torch.from_numpy(np.stack(thumbnails)).permute(0, 3, 1, 2)).save(target)
        else:
            image_grid(self.data.images(numbers), scale=max(1, THUMBNAIL_SIZE // self.data.shape[1])).save(target)
        return target


def _rows(counts: dict[str, int]) -> list[list[str]]:
    rows = [[name, f"{count:,}"] for name, count in list(counts.items())[:MAX_ROWS]]
    if rest := list(counts.values())[MAX_ROWS:]:
        rows.append([f"… {len(rest)} more", f"{min(rest):,} to {max(rest):,} each"])
    return rows
