"""User-provided images: a directory, a zip file or a NumPy array."""

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
"""Label file written by the dataset tools of the StyleGAN repositories."""


class Folder(DatasetBuilder):
    """All images in a directory or zip file, including subdirectories, sorted by path; or an ``.npy`` or ``.npz`` array.

    First-level subdirectories are the classes, unless there is a ``dataset.json`` of the StyleGAN tools
    (``{"labels": [[path, class_index], ...]}``). An array is uint8 ``[N, H, W]`` or ``[N, H, W, C]`` with 1, 3 or 4 channels;
    an ``.npz`` file contains it as ``images`` and, optionally, integer ``labels`` of ``[N]``, -1 for unlabeled images.

    Args:
        path: the directory or file.
        shared: arguments of :class:`DatasetBuilder`.
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
            return self._read_folder()
        if not self._path.is_file():
            raise ValueError(f"dataset.path={self._path}: there is no such folder or file")
        readers = {".zip": self._read_zip, ".npy": self._read_array, ".npz": self._read_array}
        if self._path.suffix.lower() not in readers:
            raise ValueError(f"dataset.path={self._path}: must be a folder, or a .zip, .npy or .npz file")
        return readers[self._path.suffix.lower()]()

    def _read_folder(self) -> RawImages:
        names = sorted(self._walk())
        labels_file = self._path / LABELS_FILE
        lists = [labels_file] if labels_file.is_file() else []
        labels, classes = self._labels(names, labels_file.read_bytes() if lists else None)
        return FileImages(self._path, self._check_not_empty(names), labels, classes, lists)

    def _read_zip(self) -> RawImages:
        try:
            with zipfile.ZipFile(self._path) as archive:
                members = [info.filename for info in archive.infolist() if not info.is_dir()]
                for member in members:
                    if PurePosixPath(member).is_absolute() or ".." in PurePosixPath(member.replace("\\", "/")).parts:
                        raise ValueError(f"dataset.path={self._path}: its member {member} has a path outside the archive")
                names = sorted({member for member in members if _is_image(member) and not member.startswith("__MACOSX/")})
                labels_json = archive.read(LABELS_FILE) if LABELS_FILE in members else None
        except zipfile.BadZipFile as error:
            raise ValueError(f"dataset.path={self._path} is damaged or no zip file ({error})") from error
        labels, classes = self._labels(names, labels_json)
        return ZipImages(self._path, self._check_not_empty(names), labels, classes)

    def _read_array(self) -> RawImages:
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
            raise ValueError(
                f"dataset.path={self._path}: labels must be one integer for each image, 0 or more, or -1 for unlabeled images"
            )
        classes = [] if labels is None else [str(n) for n in range(int(labels.max(initial=-1)) + 1)]
        return ArrayImages(images, [self._path], None if labels is None else labels.astype(np.int64), classes)

    def _walk(self) -> Iterator[str]:
        """Paths of all image files relative to the directory; follows symbolic links, skips hidden files and directories."""
        for folder, subfolders, files in os.walk(self._path, followlinks=True, onerror=_raise):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            if (Path(folder).stat().st_dev, Path(folder).stat().st_ino) in self._parents(Path(folder)):
                subfolders.clear()  # a symbolic link to one of its own parents
                continue
            relative = Path(folder).relative_to(self._path)
            yield from ((relative / name).as_posix() for name in files if _is_image(name))

    def _parents(self, folder: Path) -> set[tuple[int, int]]:
        """Device and inode numbers of the parents of ``folder``, up to the dataset's directory."""
        parents = [parent for parent in folder.parents if parent.is_relative_to(self._path)]
        return {(stat.st_dev, stat.st_ino) for stat in map(Path.stat, parents)}

    def _check_not_empty(self, names: list[str]) -> list[str]:
        if not names:
            raise ValueError(f"dataset.path={self._path}: no images found in it or its subfolders")
        return names

    def _labels(self, names: list[str], labels_json: bytes | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Class indices ``[N]`` int64 and class names, from the content of ``dataset.json`` if there is one."""
        if labels_json is None:
            return folder_classes(names)
        try:
            entries = json.loads(labels_json).get("labels")
            if entries is None:
                return folder_classes(names)
            index_of = {name.replace("\\", "/"): int(label) for name, label in entries}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f'dataset.path={self._path}: {LABELS_FILE} must contain {{"labels": [[path, class_index], ...]}} ({error})'
            ) from error
        labels = np.array([index_of.get(name, -1) for name in names], dtype=np.int64)
        return labels, tuple(str(n) for n in range(labels.max(initial=-1) + 1))


def load_whole_images(what: str, path: str, channels: int) -> tuple[ImageDataset, list[str]]:
    """All images of a folder, zip file or array at their original sizes, and their relative paths without file extension.

    They are decoded on every call: a packed file would not notice images that were replaced under the same name.

    Args:
        what: configuration key that ``path`` comes from, for messages.
        path: the folder or file, as in :class:`Folder`.
        channels: 1 for grayscale, 3 for color.

    Raises:
        ValueError: there are no images, or one can't be read.
    """
    source = Folder(path=path, name=what, root=".", size=1, channels=channels, resize_mode=WHOLE, split="all")
    try:
        raw_images = source.raw_images()
    except ValueError as error:
        raise ValueError(str(error).replace("dataset.path=", f"{what}=")) from error
    images = []
    for index in range(len(raw_images)):
        try:
            images.append(source.image_format.decode(raw_images, index))
        except Exception as error:  # decoders raise many types for damaged files
            raise ValueError(f"{what}={path}: {raw_images.name(index)} can't be read ({error})") from error
    sizes = np.array([image.shape[:2] for image in images], dtype=np.int32)
    flat = np.concatenate([image.reshape(-1) for image in images])
    data = ImageDataset.from_arrays(VariableSizePixels(flat, sizes, channels), origin=f"crc32 {zlib.crc32(flat.data):08x}")
    parent = str(Path(path).expanduser().absolute())
    names = (raw_images.name(index).removeprefix(parent).lstrip("/:") for index in range(len(raw_images)))
    return data, [str(PurePosixPath(name).with_suffix("")) for name in names]


def _raise(error: OSError) -> None:
    raise error  # os.walk would skip a directory without read permission


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
