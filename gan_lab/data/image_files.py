"""Image files: which files count as images, those of a folder, and a state by which a change is noticed."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

log = logging.getLogger(__name__)

NOT_IMAGES = frozenset(
    [".pdf", ".ps", ".eps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".fit", ".fits", ".wmf", ".emf"]
)
"""Extensions registered with Pillow for documents, scientific data and video; Pillow opens some of them with other programs."""

SUFFIXES = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN) - NOT_IMAGES
"""Lower-case extensions of the files that count as images."""

LABELS_FILE = "dataset.json"
"""Label file written by the dataset tools of the StyleGAN repositories."""

MAX_ENDINGS = 8
"""Endings listed in a message about files that are passed over."""


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a folder and its subfolders, without hidden files and folders.

    Attributes:
        root: the folder.
        names: paths of the images relative to it, sorted.
        passed_over: number of other files by ending, without label files.
        state: digest of the names, sizes and modification times of the images and of :data:`LABELS_FILE`.
    """

    root: Path
    names: list[str]
    passed_over: Mapping[str, int]
    state: str


def find_image_files(root: Path) -> ImageFiles:
    """List the image files below a folder. Symbolic links are followed, except to a parent.

    Raises:
        OSError: a folder can't be listed.
    """
    found: list[tuple[str, str]] = []
    others: list[str] = []
    for name, entry in _walk(root):
        if is_image(entry.name):
            found.append((name, _state(entry)))
        elif name == LABELS_FILE:
            found.append(("", _state(entry)))  # sorted first; no image has this name
        else:
            others.append(entry.name)
    found.sort()
    digest = hashlib.sha256(os.fsencode("\0".join(f"{name}\0{state}" for name, state in found)))
    return ImageFiles(root, [name for name, _ in found if name], count_endings(others), digest.hexdigest()[:32])


def path_state(path: Path) -> str | None:
    """A text that changes with a file, or with the images of a folder; None if there is neither or it is not accessible."""
    try:
        if not path.is_dir():
            return _state(path)
        os.scandir(path).close()
    except OSError:
        return None
    try:
        return find_image_files(path).state
    except OSError as error:
        return f"{error.filename} can't be listed"


def is_image(name: str) -> bool:
    """Whether a file of this name, which may have folders, counts as an image: by its extension, and unless it is hidden."""
    return _ending(name) in SUFFIXES and not name.startswith(".") and "/." not in name


def count_endings(names: Iterable[str]) -> dict[str, int]:
    """Number of file names with each extension, in lower case, the most frequent first."""
    return dict(Counter(_ending(name) or "no ending" for name in names).most_common())


def warn_of_passed_over(where: str, passed_over: Mapping[str, int]) -> None:
    """Log how many files are no images, by ending.

    Args:
        where: beginning of the line, such as ``dataset.path=photos``.
        passed_over: number of files by ending; nothing is logged if there are none.
    """
    if passed_over:
        log.warning("%s: %s", where, describe_passed_over(passed_over))


def describe_passed_over(passed_over: Mapping[str, int]) -> str:
    """One line about files that are no images, by ending."""
    listed = [f"{count:,} {ending}" for ending, count in list(passed_over.items())[:MAX_ENDINGS]]
    if rest := list(passed_over.values())[MAX_ENDINGS:]:
        listed.append(f"{sum(rest):,} with {len(rest)} other endings")
    total = sum(passed_over.values())
    files, are = ("file", "is") if total == 1 else ("files", "are")
    return (
        f"{total:,} {files} {are} passed over, not having an image's ending ({', '.join(listed)}); convert or rename "
        "those that are images, such as to .png or .jpg"
    )


def _walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files with their paths relative to ``root``."""
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())]
    while pending:
        folder, prefix, parents = pending.pop()
        stat = os.stat(folder)  # noqa: PTH116 - a Path would take longer than the call
        if (own := (stat.st_dev, stat.st_ino)) in parents:
            continue  # a symbolic link to one of its own parents
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append((entry.path, f"{prefix}{entry.name}/", parents | {own}))
                elif entry.is_file() or entry.is_symlink():  # opening a pipe would wait; a broken link is an unreadable image
                    yield prefix + entry.name, entry


def _ending(name: str) -> str:
    """The extension of a file name in lower case with its dot; ten times as fast as that of a Path."""
    stem, _, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if stem and ending else ""


def _state(file: os.DirEntry[str] | Path) -> str:
    try:
        stat = file.stat()
    except FileNotFoundError:
        if isinstance(file, Path):
            raise
        return "a broken link"
    return f"{stat.st_size} {stat.st_mtime_ns}"
