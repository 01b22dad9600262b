"""Stored images before decoding: indexed collections whose images can be opened from any thread or process."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gan_lab.data.image_decoding import open_image
from gan_lab.data.image_files import ImageFiles, path_state
from gan_lab.data.labels import with_slashes

LARGEST_MEMBER = 2**30
"""Largest uncompressed size in bytes of an image in a zip file, as protection against zip bombs."""


class RawImages(ABC):
    """N stored images with their labels.

    Attributes:
        labels: class indices ``[N]`` int64 (-1 for unlabeled images), binary attributes ``[N, A]`` uint8, or None.
        classes: names of the classes or attributes.
        passed_over: number of files next to the images that are no images, by ending.
    """

    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = {}
    are_files = False
    """Whether images are encoded files, for which decoding in several processes pays."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def open(self, index: int) -> Image.Image:
        """Open an image with Pillow; file formats are decoded lazily.

        Raises:
            ValueError: the image has too many pixels.
            OSError: the file can't be read.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """Path or description of an image, for messages."""

    @abstractmethod
    def sources(self) -> Iterable[Path]:
        """Files and folders that the images and labels come from."""

    def reopen(self) -> None:  # noqa: B027 - most subclasses share nothing
        """Called in a forked process: reopen file handles, whose position would be shared with the parent process."""

    def watched(self) -> dict[str, str | None]:
        """The state of each of :meth:`sources` by path, see :func:`gan_lab.data.image_files.path_state`."""
        return {str(path): path_state(path) for path in self.sources()}

    def check_labels(self) -> None:
        """Raise ValueError unless each image has one label and all class indices are in range."""
        if self.labels is None:
            return
        if len(self.labels) != len(self):
            raise ValueError(f"{len(self)} images but {len(self.labels)} labels")
        if self.labels.ndim == 1 and len(self.labels) and not -1 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(
                f"class indices are {self.labels.min()} to {self.labels.max()}, but there are {len(self.classes)} classes"
            )


class ArrayImages(RawImages):
    """Images of one size in an array, :attr:`pixels`.

    Args:
        pixels: uint8 ``[N, H, W]``, or ``[N, H, W, C]`` with 1, 3 or 4 channels.
        files: files that the array was read from.
        labels, classes: see :class:`RawImages`.
    """

    def __init__(
        self, pixels: np.ndarray, files: Sequence[Path], labels: np.ndarray | None = None, classes: Sequence[str] = ()
    ) -> None:
        self.pixels = pixels[..., 0] if pixels.ndim == 4 and pixels.shape[3] == 1 else pixels
        self._files = tuple(files)
        self.labels, self.classes = labels, tuple(classes)

    def __len__(self) -> int:
        return len(self.pixels)

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self.pixels[index]))

    def name(self, index: int) -> str:
        return f"image {index}"

    def sources(self) -> Iterable[Path]:
        return self._files


class FileImages(RawImages):
    """Image files of a folder.

    Args:
        files: the image files.
        labels, classes: see :class:`RawImages`.
        names: paths of the images relative to the folder; None: all of ``files``.
        lists: other files, such as label lists, that are watched for changes.
    """

    are_files = True

    def __init__(
        self,
        files: ImageFiles,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        *,
        names: Sequence[str] | None = None,
        lists: Sequence[Path] = (),
    ) -> None:
        self._files, self._names, self._lists = files, list(files.names if names is None else names), tuple(lists)
        self.labels, self.classes, self.passed_over = labels, tuple(classes), files.passed_over

    def __len__(self) -> int:
        return len(self._names)

    def open(self, index: int) -> Image.Image:
        return open_image(self._files.root / self._names[index])

    def name(self, index: int) -> str:
        return str(self._files.root / self._names[index])

    def sources(self) -> Iterable[Path]:
        return (self._files.root, *self._lists)

    def watched(self) -> dict[str, str | None]:
        """The folder in the state in which it was listed, so that a later change is noticed."""
        return {str(path): path_state(path) for path in self._lists} | {str(self._files.root): self._files.state}


class ZipImages(RawImages):
    """Images in a zip file, read without extracting it.

    Args:
        archive: the zip file.
        names: its members that are images.
        labels, classes, passed_over: see :class:`RawImages`.
        lists: other files, such as label lists, that are watched for changes.

    Raises:
        ValueError: the file is damaged, no zip file or lacks a member, or a member is larger than :data:`LARGEST_MEMBER`.
    """

    are_files = True

    def __init__(
        self,
        archive: Path,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        *,
        passed_over: Mapping[str, int] | None = None,
        lists: Sequence[Path] = (),
    ) -> None:
        self._archive, self._names, self._lists = archive, list(names), tuple(lists)
        self.labels, self.classes, self.passed_over = labels, tuple(classes), passed_over or {}
        try:
            self._zip = zipfile.ZipFile(archive)
            large = [name for name in names if self._zip.getinfo(name).file_size > LARGEST_MEMBER]
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{archive} is damaged, incomplete or no zip file ({error})") from error
        if large:
            raise ValueError(f"{archive}: {large[0]} is larger than {LARGEST_MEMBER:,} bytes when extracted; remove it")

    def __len__(self) -> int:
        return len(self._names)

    def open(self, index: int) -> Image.Image:
        return open_image(self._zip.open(self._names[index]))  # ZipFile is thread-safe for reading

    def reopen(self) -> None:
        self._zip = zipfile.ZipFile(self._archive)

    def name(self, index: int) -> str:
        return f"{self._archive}:{with_slashes(self._names[index])}"

    def sources(self) -> Iterable[Path]:
        return (self._archive, *self._lists)


class GeneratedImages(RawImages):
    """Images returned by a function, such as those of a Hugging Face dataset.

    Args:
        count: number of images.
        make: returns the image at an index; called from several threads at once.
        files: source files that are watched for changes.
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

    def open(self, index: int) -> Image.Image:
        return self._make(index)

    def name(self, index: int) -> str:
        return f"image {index}"

    def sources(self) -> Iterable[Path]:
        return self._files
