"""User-provided images: a directory, a zip file or a NumPy array."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sized
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.image_decoding import WHOLE
from gan_lab.data.image_files import (
    LABELS_FILE,
    count_endings,
    describe_passed_over,
    find_image_files,
    is_image,
    warn_of_passed_over,
)
from gan_lab.data.labels import Labels, folder_classes, listed_labels, number_classes, with_slashes
from gan_lab.data.packed_file import VariableSizePixels
from gan_lab.data.raw_images import LARGEST_MEMBER, ArrayImages, FileImages, RawImages, ZipImages
from gan_lab.utils.formatting import printable


class Folder(DatasetBuilder):
    """All images in a directory or zip file, including subdirectories, sorted by path; or an ``.npy`` or ``.npz`` array.

    First-level subdirectories are the classes, unless there is a ``dataset.json`` of the StyleGAN tools
    (``{"labels": [[path, class_index], ...]}``); of a zip file, those in its only top folder. An array is uint8 ``[N, H, W]``
    or ``[N, H, W, C]`` with 1, 3 or 4 channels; an ``.npz`` file contains it as ``images`` and, optionally, ``labels`` of
    ``[N]``: class indices, -1 for unlabeled images, or names.

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
        try:
            files = find_image_files(self._path)
        except OSError as error:
            raise ValueError(f"dataset.path={self._path}: {error.filename} can't be listed ({error.strerror})") from error
        self._check_not_empty(files.names, files.passed_over)
        labels_file = self._path / LABELS_FILE
        labels, classes = self._labels(files.names, labels_file.read_bytes() if labels_file.is_file() else None)
        return FileImages(files, labels, classes)

    def _read_zip(self) -> RawImages:
        try:
            archive = zipfile.ZipFile(self._path)
        except Exception as error:  # damaged files raise many types
            raise ValueError(f"dataset.path={self._path} is damaged or no zip file ({error})") from error
        with archive:
            members = self._members(archive)
            images = sorted(name for name in members if is_image(name))
            top = _top_folder(images, members)
            labels_files = [name for name in (LABELS_FILE, top + LABELS_FILE) if name in members]
            labels_json = self._read_member(archive, members[labels_files[0]]) if labels_files else None
        others = [name for name in members if not is_image(name) and name not in labels_files]
        passed_over = count_endings(name for name in others if not any(part.startswith(".") for part in name.split("/")))
        self._check_not_empty(images, passed_over)
        labels, classes = self._labels([name.removeprefix(top) for name in images], labels_json, top)
        return ZipImages(self._path, [members[name] for name in images], labels, classes, passed_over=passed_over)

    def _read_member(self, archive: zipfile.ZipFile, name: str) -> bytes:
        try:
            if archive.getinfo(name).file_size > LARGEST_MEMBER:
                raise ValueError(f"it has more than {LARGEST_MEMBER:,} bytes")
            return archive.read(name)
        except Exception as error:  # damaged files raise many types
            raise ValueError(f"dataset.path={self._path}: its member {printable(name)} can't be read ({error})") from error

    def _members(self, archive: zipfile.ZipFile) -> dict[str, str]:
        """The files of an archive as they are stored, by their paths with ``/``."""
        members: dict[str, str] = {}
        for stored in dict.fromkeys(info.filename for info in archive.infolist()):
            path = PurePosixPath(with_slashes(stored))
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"dataset.path={self._path}: its member {printable(stored)} has a path outside the archive")
            if with_slashes(stored).endswith("/") or path.parts[:1] == ("__MACOSX",):
                continue
            if path.as_posix() in members:
                raise ValueError(
                    f"dataset.path={self._path}: it has two files {printable(str(path))}, in different spellings; remove one"
                )
            members[path.as_posix()] = stored
        return members

    def _read_array(self) -> RawImages:
        try:
            images, labels = _load_arrays(self._path)
            if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray | None):
                raise ValueError("one of its members is no array")
        except Exception as error:  # damaged files raise many types
            raise ValueError(f"dataset.path={self._path} can't be read as an array of images ({error})") from error
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
            raise ValueError(
                f"dataset.path={self._path}: must be uint8 [N, height, width] or [N, height, width, 1, 3 or 4], "
                f"not {images.dtype} {list(images.shape)}"
            )
        self._check_not_empty(images, {})
        if labels is None:
            return ArrayImages(images, [self._path])
        if labels.shape not in ((len(images),), (len(images), 1)):
            raise ValueError(
                f"dataset.path={self._path}: labels must be {len(images):,}, one for each image, not {list(labels.shape)}"
            )
        return ArrayImages(images, [self._path], *number_classes(labels.reshape(-1), f"dataset.path={self._path}: labels"))

    def _check_not_empty(self, images: Sized, passed_over: Mapping[str, int]) -> None:
        if not len(images):
            others = f"; {describe_passed_over(passed_over)}" if passed_over else ""
            raise ValueError(f"dataset.path={self._path}: no images found in it or its subfolders{others}")

    def _labels(self, names: list[str], labels_json: bytes | None, top: str = "") -> Labels:
        """Class indices and names, from the content of ``dataset.json`` if there is one; ``top``: folder in an archive."""
        if labels_json is None:
            return folder_classes(names)
        prefixes = [top, self._path.name, self._path.stem, f"{self._path.stem}/{top}", str(self._path)]
        return listed_labels(names, labels_json, prefixes, f"dataset.path={self._path}")


def _load_arrays(path: Path) -> tuple[Any, Any]:
    """The images of an array file, and the labels or None."""
    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False, mmap_mode="r"), None
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
        return stored["images"], stored.get("labels")


def _top_folder(images: list[str], members: Collection[str]) -> str:
    """The folder, with a final ``/``, that all images of an archive share and that is no class; empty if there is none.

    It holds the folders of the classes, or a ``dataset.json``.
    """
    top = ""
    while len(folders := {name.removeprefix(top).partition("/")[0] for name in images}) == 1:
        below = f"{top}{folders.pop()}/"
        if not all(name.startswith(below) for name in images):
            break  # the only image
        has_folders = any("/" in name.removeprefix(below) for name in images)
        if f"{below}{LABELS_FILE}" in members:
            return below
        if not has_folders:
            break  # the folder is the class
        top = below
    return top


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
    warn_of_passed_over(f"{what}={path}", raw_images.passed_over)
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
