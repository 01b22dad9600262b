"""Stored pictures: an ordered list of what can be opened one by one, by any thread or process."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

NO_PICTURES = frozenset(
    [".pdf", ".ps", ".eps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".fit", ".fits", ".wmf", ".emf"]
)
"""Registered with Pillow, but documents, data and films; some would start other programs."""

SUFFIXES = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN) - NO_PICTURES
"""Endings of files that are taken for pictures."""

LARGEST_MEMBER = 2**30
"""Bytes a single picture in a zip may unpack to; more is an attack or a mistake."""


class RawImages(ABC):
    """Pictures with their labels.

    Attributes:
        labels: ``[N]`` int64 (-1: none), ``[N, A]`` uint8, or None.
        classes: names of the classes or attributes.
    """

    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    are_files = False
    """Whether opening a picture means decoding a file."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def open(self, number: int) -> Image.Image:
        """The picture, not yet decoded where its format allows that."""

    @abstractmethod
    def name(self, number: int) -> str:
        """For messages."""

    @abstractmethod
    def sources(self) -> Iterable[Path]:
        """Files and folders whose time of change tells whether the pictures are still these."""

    def reopen(self) -> None:  # noqa: B027 - most pictures share nothing
        """Called in a forked process: open anew what must not be shared with the parent, such as a file's position."""

    def modification_times(self) -> dict[str, int]:
        """Time of change, in nanoseconds, of each of :meth:`sources`."""
        return {str(path): path.stat().st_mtime_ns for path in self.sources()}

    def check_labels(self) -> None:
        """Raise ValueError unless there is one label for each picture, -1 or the number of a class."""
        if self.labels is None:
            return
        if len(self.labels) != len(self):
            raise ValueError(f"{len(self)} images but {len(self.labels)} labels")
        if self.labels.ndim == 1 and len(self.labels) and not -1 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"labels from {self.labels.min()} to {self.labels.max()}, but {len(self.classes)} classes")


class ArrayImages(RawImages):
    """Pictures of one size in an array.

    Args:
        pixels: ``[N, H, W]``, or ``[N, H, W, C]`` with 1, 3 or 4 channels, uint8.
        files: where they were read from.
        labels, classes: see :class:`RawImages`.
    """

    def __init__(
        self, pixels: np.ndarray, files: Sequence[Path], labels: np.ndarray | None = None, classes: Sequence[str] = ()
    ) -> None:
        self._pixels = pixels[..., 0] if pixels.ndim == 4 and pixels.shape[3] == 1 else pixels
        self._files = tuple(files)
        self.labels, self.classes = labels, tuple(classes)

    def __len__(self) -> int:
        return len(self._pixels)

    def open(self, number: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self._pixels[number]))

    def name(self, number: int) -> str:
        return f"image {number}"

    def sources(self) -> Iterable[Path]:
        return self._files


class FileImages(RawImages):
    """Picture files.

    Args:
        root: the folder.
        names: paths below it.
        labels, classes: see :class:`RawImages`.
        lists: further files that tell what the pictures are.
    """

    are_files = True

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        lists: Sequence[Path] = (),
    ) -> None:
        self._root, self._names, self._lists = root, list(names), tuple(lists)
        self.labels, self.classes = labels, tuple(classes)

    def __len__(self) -> int:
        return len(self._names)

    def open(self, number: int) -> Image.Image:
        return Image.open(self._root / self._names[number])

    def name(self, number: int) -> str:
        return str(self._root / self._names[number])

    def sources(self) -> Iterable[Path]:
        """The folders: adding or removing a picture changes the time of the one it is in; replacing one in place does not."""
        folders = [self._root / below for below in sorted({name.rpartition("/")[0] for name in self._names} | {""})]
        return [*folders, *self._lists]


class ZipImages(RawImages):
    """Pictures in a zip, read without unpacking it.

    Args:
        archive: the zip.
        names: members.
        labels, classes: see :class:`RawImages`.
        lists: further files that tell what the pictures are.

    Raises:
        ValueError: no zip, a damaged one, or a member that would unpack to more than :data:`LARGEST_MEMBER` bytes.
    """

    are_files = True

    def __init__(
        self,
        archive: Path,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        lists: Sequence[Path] = (),
    ) -> None:
        self._archive, self._names, self._lists = archive, list(names), tuple(lists)
        self.labels, self.classes = labels, tuple(classes)
        try:
            self._zip = zipfile.ZipFile(archive)
            large = [name for name in names if self._zip.getinfo(name).file_size > LARGEST_MEMBER]
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{archive} is no zip, a damaged one, or lacks a file ({error})") from error
        if large:
            raise ValueError(f"{archive}: {large[0]} would unpack to more than {LARGEST_MEMBER:,} bytes")

    def __len__(self) -> int:
        return len(self._names)

    def open(self, number: int) -> Image.Image:
        return Image.open(self._zip.open(self._names[number]))  # ZipFile locks its handle, so threads may share it

    def reopen(self) -> None:
        self._zip = zipfile.ZipFile(self._archive)

    def name(self, number: int) -> str:
        return f"{self._archive}:{self._names[number]}"

    def sources(self) -> Iterable[Path]:
        return (self._archive, *self._lists)


class GeneratedImages(RawImages):
    """Pictures that a function gives, such as a Hugging Face data set's.

    Args:
        count: how many.
        make: number to picture; called by several threads at once.
        files: where they come from, as far as there are files.
        labels, classes: see :class:`RawImages`.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[int], Image.Image],
        files: Sequence[Path] = (),
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self._count, self._make, self._files = count, make, tuple(files)
        self.labels, self.classes = labels, tuple(classes)

    def __len__(self) -> int:
        return self._count

    def open(self, number: int) -> Image.Image:
        return self._make(number)

    def name(self, number: int) -> str:
        return f"image {number}"

    def sources(self) -> Iterable[Path]:
        return self._files


def folder_classes(names: Sequence[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels by the first folder of each path; paths without one get -1. None when no path has a folder."""
    firsts = [name.partition("/")[0] if "/" in name else None for name in names]
    classes = sorted({first for first in firsts if first is not None})
    if not classes:
        return None, ()
    number = {name: n for n, name in enumerate(classes)}
    return np.array([-1 if first is None else number[first] for first in firsts], dtype=np.int64), tuple(classes)
