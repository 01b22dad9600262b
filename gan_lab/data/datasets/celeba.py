"""CelebA: 202,599 aligned face images of 178x218 pixels with 40 binary attributes (Liu et al. 2015)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets.utils import download_file_from_google_drive

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.image_files import find_image_files
from gan_lab.data.raw_images import FileImages, RawImages, ZipImages
from gan_lab.storage.downloads import Checksum

FILES = {
    "img_align_celeba.zip": ("0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    "list_attr_celeba.txt": ("0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c"),
    "list_eval_partition.txt": ("0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
}
"""Google Drive ID and MD5 checksum of each published file, the same as in ``torchvision.datasets.CelebA``."""

PARTITIONS = {"train": ("0",), "valid": ("1",), "test": ("2",), "all": ("0", "1", "2")}
"""Values in ``list_eval_partition.txt`` that belong to each split."""


class CelebA(DatasetBuilder):
    """CelebA from its published files in ``<root>/celeba``: the zip or the directory extracted from it, and the two lists.

    Splits follow the published ``list_eval_partition.txt`` (162,770 / 19,867 / 19,962 images). Each image is cropped to a
    central square of ``precrop`` pixels before it is resized.

    Args:
        precrop: side of the central square, 1 to 178 pixels. 178, the full width, equals the resize and center crop of
            torchvision's and pytorch/examples' DCGAN; 148 is the crop of WAE and NVAE, 108 that of early DCGAN code.
        shared: arguments of :class:`DatasetBuilder`.
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
        lists = [self._find_or_download(name) for name in ("list_attr_celeba.txt", "list_eval_partition.txt")]
        attributes, rows = self._read_attributes(lists[0])
        partition = self._read_partition(lists[1])
        if rows.keys() != partition.keys():
            raise ValueError(f"dataset=celeba: {lists[0]} and {lists[1]} list different images; download both again")
        names = [name for name in rows if partition[name] in PARTITIONS[self.split]]
        labels = np.array([rows[name] for name in names], dtype=np.uint8).reshape(len(names), len(attributes))
        if (self._folder / "img_align_celeba").is_dir():
            files = find_image_files(self._folder / "img_align_celeba")
            return FileImages(files, labels, attributes, names=names, lists=lists)
        archive = self._find_or_download("img_align_celeba.zip")
        return ZipImages(archive, [f"img_align_celeba/{name}" for name in names], labels, attributes, lists=lists)

    def _read_attributes(self, path: Path) -> tuple[tuple[str, ...], dict[str, list[bool]]]:
        """Attribute names, and the attribute values of each image by file name. The file's first line is the image count."""
        count, heading, *lines = [*path.read_text(encoding="utf-8").splitlines(), "", ""]
        attributes = tuple(heading.split())
        rows = {name: [value == "1" for value in values] for name, *values in map(str.split, filter(str.strip, lines))}
        if str(len(rows)) != count.strip() or any(len(row) != len(attributes) for row in rows.values()):
            raise ValueError(
                f"dataset=celeba: {path} is damaged or truncated: {len(rows)} rows instead of {count.strip()}, or rows without "
                f"{len(attributes)} values; download it again"
            )
        return attributes, rows

    def _read_partition(self, path: Path) -> dict[str, str]:
        """``"0"``, ``"1"`` or ``"2"`` for each image by file name."""
        pairs = [tuple(line.split()) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if any(len(pair) != 2 or pair[1] not in PARTITIONS["all"] for pair in pairs):
            raise ValueError(
                f"dataset=celeba: {path} is damaged: each line must be a file name and 0, 1 or 2; download it again"
            )
        return {pair[0]: pair[1] for pair in pairs}

    def _find_or_download(self, name: str) -> Path:
        path = self._folder / name
        google_drive_id, checksum = FILES[name]
        if path.is_file():
            return path
        try:
            if not self.download:
                raise ValueError("downloads are disabled")
            self._folder.mkdir(parents=True, exist_ok=True)
            download_file_from_google_drive(google_drive_id, str(self._folder), f"{name}.download", checksum)
            return Checksum("md5", checksum).verify(path.with_name(f"{name}.download"), f"dataset={self.name}").rename(path)
        except Exception as error:  # quota page, no network, gdown not installed: the user has to download the file
            path.with_name(f"{name}.download").unlink(missing_ok=True)
            wanted = "\n".join(f"  {self._folder / file}   MD5 {md5}" for file, (_, md5) in FILES.items())
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            install = "" if find_spec("gdown") else "For the download from Google Drive: pip install 'gan_lab[celeba]'\n"
            raise ValueError(
                f"dataset=celeba needs {path}, which is not there and could not be downloaded ({reason}).\n"
                f"{install}Google Drive limits downloads per day. By hand: download the files from the CelebA page "
                f"(mmlab.ie.cuhk.edu.hk/projects/CelebA.html, Align&Cropped Images) and put them at\n{wanted}"
            ) from error
