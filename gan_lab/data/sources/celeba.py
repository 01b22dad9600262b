"""CelebA: 202,599 aligned faces of 178x218 with 40 attributes (Liu et al. 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets.utils import download_file_from_google_drive

from gan_lab.data.fetch import verified
from gan_lab.data.pictures import FilePictures, Pictures, ZipPictures
from gan_lab.data.sources.base import Source

FILES = {
    "img_align_celeba.zip": ("0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    "list_attr_celeba.txt": ("0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c"),
    "list_eval_partition.txt": ("0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
}
"""The aligned images and their lists, as published and as torchvision knows them: Google Drive number and MD5."""

PARTITIONS = {"train": ("0",), "valid": ("1",), "test": ("2",), "all": ("0", "1", "2")}


class CelebA(Source):
    """The distributed files in ``<root>/celeba``: the zip, or the folder it unpacks to, and the two lists.

    The split is the published ``list_eval_partition.txt`` (162,770 / 19,867 / 19,962). Each picture is cropped to its central
    ``precrop`` pixels and resized: 178, the whole width, is what torchvision's and pytorch/examples' resize and centre crop
    leave; 148 is WAE's and NVAE's crop, 108 the one of the first DCGAN codes.

    Args:
        precrop: side of the central square, up to 178 pixels.
        shared: the rest are :class:`Source`'s.
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

    def pictures(self) -> Pictures:
        partition = dict(line.split() for line in self._lines("list_eval_partition.txt"))
        _, heading, *rows = self._lines("list_attr_celeba.txt")
        attributes = tuple(heading.split())
        names, values = [], []
        for row in rows:
            name, *signs = row.split()
            if len(signs) != len(attributes):
                raise ValueError(f"dataset=celeba: list_attr_celeba.txt is damaged at {name}")
            if partition.get(name) in PARTITIONS[self.split]:
                names.append(name)
                values.append([sign == "1" for sign in signs])
        labels = np.array(values, dtype=np.uint8).reshape(len(names), len(attributes))
        if (self._folder / "img_align_celeba").is_dir():
            return FilePictures(self._folder / "img_align_celeba", names, labels, attributes)
        archive = self._file("img_align_celeba.zip")
        try:
            return ZipPictures(archive, [f"img_align_celeba/{name}" for name in names], labels, attributes)
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"dataset=celeba: {archive} is damaged or not the published one ({error})") from error

    def _lines(self, name: str) -> list[str]:
        return self._file(name).read_text(encoding="utf-8").split("\n")[: -1 or None]

    def _file(self, name: str) -> Path:
        path = self._folder / name
        number, checksum = FILES[name]
        if path.is_file():
            return path
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            download_file_from_google_drive(number, str(self._folder), f"{name}.download", checksum)
            return verified(path.with_name(f"{name}.download"), checksum, self.name).rename(path)
        except Exception as error:  # quota pages, missing gdown, no network: all mean that a person must fetch it
            path.with_name(f"{name}.download").unlink(missing_ok=True)
            wanted = "\n".join(f"  {self._folder / file}   MD5 {md5}" for file, (_, md5) in FILES.items())
            raise ValueError(
                f"dataset=celeba needs {path}, which is not there and could not be downloaded ({error}).\n"
                "Google Drive often refuses for a day when too many ask. Fetch the files by hand from the page of CelebA "
                f"(mmlab.ie.cuhk.edu.hk/projects/CelebA.html, Align&Cropped Images) and put them at\n{wanted}"
            ) from error
