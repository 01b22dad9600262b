"""Pictures of one's own: a folder, a zip, or an array."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.image_decoding import WHOLE
from gan_lab.data.packed_file import VariableSizePixels
from gan_lab.data.raw_images import SUFFIXES, ArrayImages, FileImages, RawImages, ZipImages, folder_classes

LABELS_FILE = "dataset.json"


class Folder(DatasetBuilder):
    """Every picture in and below a folder or a zip, in the order of the paths, or an ``.npy`` or ``.npz`` array.

    Sub-folders of the first level are the classes. A ``dataset.json`` of the StyleGAN tools, ``{"labels": [[path, number],
    ...]}``, is used instead where there is one. An ``.npz`` holds ``images`` and, if wanted, ``labels``.

    Args:
        path: the folder or file.
        shared: the rest are :class:`DatasetBuilder`'s.
    """

    def __init__(self, *, path: str, **shared: Any) -> None:
        super().__init__(**shared)
        self._path = Path(path).expanduser().absolute()

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "path": str(self._path)}

    @property
    def domain(self) -> str:
        return f"{self._path.stem}-{hashlib.sha256(str(self._path).encode()).hexdigest()[:8]}"

    def raw_images(self) -> RawImages:
        if self._path.is_dir():
            return self._of_folder()
        if not self._path.is_file():
            raise ValueError(f"dataset.path={self._path}: there is no such folder or file")
        readers = {".zip": self._of_zip, ".npy": self._of_array, ".npz": self._of_array}
        if self._path.suffix.lower() not in readers:
            raise ValueError(f"dataset.path={self._path}: must be a folder, a .zip, an .npy or an .npz")
        return readers[self._path.suffix.lower()]()

    def _of_folder(self) -> RawImages:
        names = sorted(self._walk())
        labels_file = self._path / LABELS_FILE
        lists = [labels_file] if labels_file.is_file() else []
        labels, classes = self._labels(names, labels_file.read_bytes() if lists else None)
        return FileImages(self._path, self._some(names), labels, classes, lists)

    def _of_zip(self) -> RawImages:
        try:
            with zipfile.ZipFile(self._path) as archive:
                members = [info.filename for info in archive.infolist() if not info.is_dir()]
                for member in members:
                    if PurePosixPath(member).is_absolute() or ".." in PurePosixPath(member.replace("\\", "/")).parts:
                        raise ValueError(f"dataset.path={self._path}: its member {member} points outside of it; it is not read")
                names = sorted({member for member in members if _is_picture(member) and not member.startswith("__MACOSX/")})
                description = archive.read(LABELS_FILE) if LABELS_FILE in members else None
        except zipfile.BadZipFile as error:
            raise ValueError(f"dataset.path={self._path} is no zip, or a damaged one ({error})") from error
        labels, classes = self._labels(names, description)
        return ZipImages(self._path, self._some(names), labels, classes)

    def _of_array(self) -> RawImages:
        try:
            stored: Any = np.load(self._path, allow_pickle=False, mmap_mode="r")
            images, labels = (stored["images"], stored.get("labels")) if self._path.suffix.lower() == ".npz" else (stored, None)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"dataset.path={self._path} can't be read as an array of images ({error})") from error
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
            raise ValueError(
                f"dataset.path={self._path}: must be uint8 [N, height, width] or [N, height, width, 1, 3 or 4], "
                f"not {images.dtype} {list(images.shape)}"
            )
        if labels is not None and (
            labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min(initial=0) < -1
        ):
            raise ValueError(f"dataset.path={self._path}: labels must be a whole number from 0 for each image, or -1 for none")
        classes = [] if labels is None else [str(n) for n in range(int(labels.max(initial=-1)) + 1)]
        return ArrayImages(images, [self._path], None if labels is None else labels.astype(np.int64), classes)

    def _walk(self) -> Iterator[str]:
        for folder, inner, files in os.walk(self._path, followlinks=True, onerror=_refuse):
            inner[:] = [name for name in inner if not name.startswith(".")]
            if (Path(folder).stat().st_dev, Path(folder).stat().st_ino) in self._parents(Path(folder)):
                inner.clear()  # a link back to a folder it is in
                continue
            below = Path(folder).relative_to(self._path)
            yield from ((below / name).as_posix() for name in files if _is_picture(name))

    def _parents(self, folder: Path) -> set[tuple[int, int]]:
        """The folders ``folder`` lies in, up to the data set's, by what identifies them on the disk."""
        between = [parent for parent in folder.parents if parent.is_relative_to(self._path)]
        return {(stat.st_dev, stat.st_ino) for stat in map(Path.stat, between)}

    def _some(self, names: list[str]) -> list[str]:
        if not names:
            raise ValueError(f"dataset.path={self._path}: no picture in it or below it")
        return names

    def _labels(self, names: list[str], description: bytes | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
        if description is None:
            return folder_classes(names)
        try:
            listed = json.loads(description).get("labels")
            if listed is None:
                return folder_classes(names)
            number = {name.replace("\\", "/"): int(label) for name, label in listed}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f'dataset.path={self._path}: {LABELS_FILE} is not {{"labels": [[path, number], ...]}} ({error})'
            ) from error
        labels = np.array([number.get(name, -1) for name in names], dtype=np.int64)
        return labels, tuple(str(n) for n in range(labels.max(initial=-1) + 1))


def load_whole_images(what: str, path: str, channels: int) -> tuple[ImageDataset, list[str]]:
    """All pictures of a folder, a zip or an array in their own sizes, and their names below it, without suffix.

    Nothing is kept: pictures that were made anew under their old names would not be noticed.

    Args:
        what: the key that names them, for messages.
        path: where they are.
        channels: 1 grey, 3 colour.

    Raises:
        ValueError: there is none, or one can't be read.
    """
    source = Folder(path=path, name=what, root=".", size=1, channels=channels, resize_mode=WHOLE, split="all")
    try:
        pictures = source.raw_images()
    except ValueError as error:
        raise ValueError(str(error).replace("dataset.path=", f"{what}=")) from error
    parts = []
    for number in range(len(pictures)):
        try:
            parts.append(source.image_format.decode(pictures, number))
        except Exception as error:  # whatever a damaged file makes a decoder raise
            raise ValueError(f"{what}={path}: {pictures.name(number)} can't be read ({error})") from error
    sizes = np.array([part.shape[:2] for part in parts], dtype=np.int32)
    flat = np.concatenate([part.reshape(-1) for part in parts])
    data = ImageDataset.from_arrays(VariableSizePixels(flat, sizes, channels), origin=f"crc32 {zlib.crc32(flat.data):08x}")
    above = str(Path(path).expanduser().absolute())
    names = (pictures.name(number).removeprefix(above).lstrip("/:") for number in range(len(pictures)))
    return data, [str(PurePosixPath(name).with_suffix("")) for name in names]


def _refuse(error: OSError) -> None:
    raise error  # a folder that may not be read is not an empty one


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
