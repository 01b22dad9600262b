"""CelebA: 202,599 aligned faces of 178x218 with 40 attributes (Liu et al. 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets.utils import download_file_from_google_drive

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.raw_images import FileImages, RawImages, ZipImages
from gan_lab.storage.downloads import Checksum

FILES = {
    "img_align_celeba.zip": ("0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    "list_attr_celeba.txt": ("0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c"),
    "list_eval_partition.txt": ("0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
}
"""The aligned images and their lists, as published and as torchvision knows them: Google Drive number and MD5."""

PARTITIONS = {"train": ("0",), "valid": ("1",), "test": ("2",), "all": ("0", "1", "2")}


class CelebA(DatasetBuilder):
    """The distributed files in ``<root>/celeba``: the zip, or the folder it unpacks to, and the two lists.

    The split is the published ``list_eval_partition.txt`` (162,770 / 19,867 / 19,962). Each picture is cropped to its central
    ``precrop`` pixels and resized: 178, the whole width, is what torchvision's and pytorch/examples' resize and centre crop
    leave; 148 is WAE's and NVAE's crop, 108 the one of the first DCGAN codes.

    Args:
        precrop: side of the central square, up to 178 pixels.
        shared: the rest are :class:`DatasetBuilder`'s.
    """

    splits = tuple(PARTITIONS)

    def __init__(self, *, precrop: int = 178, **shared: Any) -> None:
        if not 1 <= precrop <= 178:
            raise ValueError(f"dataset.precrop={precrop}: must be 1 to 178 pixels")
        self._precrop = precrop
        super().__init__(**shared)
        self._folder = self.root / "celeba"

    def precrop(self) -> int:
        return self._precrop

    def raw_images(self) -> RawImages:
        lists = [self._file(name) for name in ("list_attr_celeba.txt", "list_eval_partition.txt")]
        attributes, rows = self._attribute_rows(lists[0])
        partition = self._partition(lists[1])
        if rows.keys() != partition.keys():
            raise ValueError(f"dataset=celeba: {lists[0]} and {lists[1]} do not list the same pictures")
        names = [name for name in rows if partition[name] in PARTITIONS[self.split]]
        labels = np.array([rows[name] for name in names], dtype=np.uint8).reshape(len(names), len(attributes))
        if (self._folder / "img_align_celeba").is_dir():
            return FileImages(self._folder / "img_align_celeba", names, labels, attributes, lists)
        archive = self._file("img_align_celeba.zip")
        return ZipImages(archive, [f"img_align_celeba/{name}" for name in names], labels, attributes, lists)

    def _attribute_rows(self, path: Path) -> tuple[tuple[str, ...], dict[str, list[bool]]]:
        """The names of the attributes, and for each picture which it has. The first line is the number of pictures."""
        count, heading, *lines = [*path.read_text(encoding="utf-8").splitlines(), "", ""]
        attributes = tuple(heading.split())
        rows = {name: [sign == "1" for sign in signs] for name, *signs in map(str.split, filter(str.strip, lines))}
        if str(len(rows)) != count.strip() or any(len(row) != len(attributes) for row in rows.values()):
            raise ValueError(
                f"dataset=celeba: {path} is damaged or cut short: {len(rows)} whole rows instead of {count.strip()}"
            )
        return attributes, rows

    def _partition(self, path: Path) -> dict[str, str]:
        pairs = [tuple(line.split()) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if any(len(pair) != 2 or pair[1] not in PARTITIONS["all"] for pair in pairs):
            raise ValueError(f"dataset=celeba: {path} is damaged: its lines are a picture's name and 0, 1 or 2")
        return {pair[0]: pair[1] for pair in pairs}

    def _file(self, name: str) -> Path:
        path = self._folder / name
        number, checksum = FILES[name]
        if path.is_file():
            return path
        try:
            if not self.download:
                raise ValueError("not asked to")
            self._folder.mkdir(parents=True, exist_ok=True)
            download_file_from_google_drive(number, str(self._folder), f"{name}.download", checksum)
            return Checksum("md5", checksum).verify(path.with_name(f"{name}.download"), f"dataset={self.name}").rename(path)
        except Exception as error:  # quota pages, missing gdown, no network: all mean that a person must fetch it
            path.with_name(f"{name}.download").unlink(missing_ok=True)
            wanted = "\n".join(f"  {self._folder / file}   MD5 {md5}" for file, (_, md5) in FILES.items())
            raise ValueError(
                f"dataset=celeba needs {path}, which is not there and could not be downloaded ({error}).\n"
                "Google Drive often refuses for a day when too many ask. Fetch the files by hand from the page of CelebA "
                f"(mmlab.ie.cuhk.edu.hk/projects/CelebA.html, Align&Cropped Images) and put them at\n{wanted}"
            ) from error
