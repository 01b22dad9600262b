"""What is in a data set: counts, sizes, duplicates, unreadable files, and a contact sheet."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Group, RenderableType
from rich.table import Table

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.image_decoding import RESIZE_MODES
from gan_lab.data.packed_file import VariableSizePixels
from gan_lab.utils.image_ops import image_grid
from gan_lab.utils.progress import Progress

MOST = 40
"""Rows of a table; the rest is told in one."""

SHEET, THUMBNAIL = 100, 64
"""Images on the contact sheet, and about how many pixels each is across."""


@dataclass
class Inspection:
    """What was found.

    Attributes:
        data: the images chosen.
        sizes: how many stored pictures have each width and height.
        duplicates: places of images whose prepared pixels equal an earlier image's.
        bad: unreadable pictures, and why.
    """

    data: ImageDataset
    sizes: Counter[tuple[int, int]]
    duplicates: list[int]
    bad: dict[str, str]

    @classmethod
    def of(cls, source: DatasetBuilder, data: ImageDataset, progress: Progress) -> Inspection:
        """Look at every stored picture's size and every prepared image's pixels."""
        pictures = source.raw_images()
        sizes: Counter[tuple[int, int]] = Counter()
        for number in range(len(pictures)):
            try:
                with pictures.open(number) as picture:
                    sizes[picture.size] += 1
            except Exception:  # an unreadable one; it stands in the packed file's list
                sizes[0, 0] += 1
            if number % 256 == 0 or number + 1 == len(pictures):
                progress(number + 1, len(pictures))
        seen: set[bytes] = set()
        duplicates = []
        for place, row in enumerate(data.index):
            digest = hashlib.blake2b(data.pixels[row].tobytes(), digest_size=16).digest()
            if digest in seen:
                duplicates.append(place)
            seen.add(digest)
        path = source.packed_path()
        return cls(data, sizes, duplicates, source.packed().manifest["bad"] if path.is_file() else {})

    def render(self) -> RenderableType:
        """Tables for the console."""
        parts: list[RenderableType] = []
        if counts := self.data.counts():
            parts.append(_table("attribute" if self.data.multi_label else "class", counts))
        parts.append(_table("stored size", {f"{w} x {h}" if w else "unreadable": n for (w, h), n in self.sizes.most_common()}))
        parts.append(f"{len(self.duplicates):,} duplicates")
        parts.append(
            f"{len(self.bad):,} unreadable" + "".join(f"\n  {name}: {why}" for name, why in list(self.bad.items())[:MOST])
        )
        return Group(*parts)

    def save_sheet(self, path: str | Path) -> Path:
        """A contact sheet of images spread evenly over the set."""
        places = torch.linspace(0, len(self.data) - 1, min(SHEET, len(self.data))).round().long()
        target = Path(path).expanduser()
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.data.pixels, VariableSizePixels):
            shrunk = [RESIZE_MODES["pad"](self.data.pixels[self.data.index[place]], THUMBNAIL) for place in places]
            image_grid(torch.from_numpy(np.stack(shrunk)).permute(0, 3, 1, 2)).save(target)
        else:
            image_grid(self.data.images(places), scale=max(1, THUMBNAIL // self.data.shape[1])).save(target)
        return target


def _table(heading: str, counts: dict[str, int]) -> Table:
    table = Table(heading, "images")
    table.columns[1].justify = "right"
    for name, count in list(counts.items())[:MOST]:
        table.add_row(name, f"{count:,}")
    if len(counts) > MOST:
        rest = list(counts.values())[MOST:]
        table.add_row(f"… {len(rest)} more", f"{min(rest):,} to {max(rest):,} each")
    return table
