"""Class labels of images: from folders, label files and arrays."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from gan_lab.data.image_files import LABELS_FILE
from gan_lab.storage.json_records import parse_json
from gan_lab.utils.formatting import format_count

log = logging.getLogger(__name__)

MAX_CLASSES = 100_000
"""Class indices must be smaller; a larger one is no number of a class."""

NUMBERS = (int, float, np.number, np.bool_)

Labels = tuple[np.ndarray | None, tuple[str, ...]]
"""Class indices ``[N]`` int64, -1 for unlabeled images, or None; and the names of the classes."""


def with_slashes(name: str) -> str:
    """A path inside a folder or archive with ``/`` for the ``\\`` that programs on Windows write."""
    return name.replace("\\", "/")


def folder_classes(names: Sequence[str]) -> Labels:
    """Class indices and names from the first directory of each path.

    A path without a directory gets -1. If no path has a directory, the labels are None.
    """
    folders = [folder if slash else None for folder, slash, _ in (with_slashes(name).partition("/") for name in names)]
    classes = sorted({folder for folder in folders if folder is not None})
    if not classes:
        return None, ()
    index = {name: n for n, name in enumerate(classes)}
    labels = np.array([-1 if folder is None else index[folder] for folder in folders], dtype=np.int64)
    return labels, tuple(map(_as_text, classes))


def number_classes(values: Sequence[Any] | np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class indices and names from labels: indices of any numeric type, or the names of the classes.

    Args:
        values: one label for each image: whole numbers from 0 on, -1 for an unlabeled image; or strings, which count as numbers
            if all are whole numbers.
        where: beginning of error messages, such as ``dataset.path=photos.npz: labels``.

    Raises:
        ValueError: a label is neither, or not a number that a class can have.
    """
    kinds = (str, bytes) if all(isinstance(value, str | bytes) for value in values) else NUMBERS
    if not isinstance(values, np.ndarray) and not all(isinstance(value, kinds) for value in values):
        wrong = next(value for value in values if not isinstance(value, kinds))
        raise ValueError(f"{where} must be one number, or one name, for each image, not {wrong!r}")
    array = np.asarray(values)
    if array.dtype.kind in "US":
        texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in array.tolist()]
        try:
            array = np.array([int(text) for text in texts], dtype=object)
        except ValueError:
            classes = sorted(set(texts))
            index = {name: n for n, name in enumerate(classes)}
            return np.array([index[text] for text in texts], dtype=np.int64), tuple(classes)
    if array.dtype.kind not in "biufO":
        raise ValueError(f"{where} must be one number, or one name, for each image, not {array.dtype}")
    for value in array.tolist() if array.dtype.kind in "fO" else _extremes(array):
        if value != value or value in (float("inf"), float("-inf")) or int(value) != value:
            raise ValueError(f"{where} must be whole numbers, not {value}")
        if not -1 <= value < MAX_CLASSES:
            raise ValueError(f"{where} must be class indices, 0 to {MAX_CLASSES - 1:,}, or -1 for no class, not {value}")
    labels = array.astype(np.int64)
    return labels, tuple(str(n) for n in range(int(labels.max(initial=-1)) + 1))


def listed_labels(names: Sequence[str], content: bytes, prefixes: Sequence[str], where: str) -> Labels:
    r"""Labels from a ``dataset.json``: ``{"labels": [[path, label], ...]}``; without any, those of :func:`folder_classes`.

    Paths may have ``\`` for ``/``, and begin with ``./``, ``/`` or one of ``prefixes``. The number of paths that match no
    image, and of images that are not listed, is logged.

    Args:
        names: paths of the images.
        content: of the file.
        prefixes: paths of the folder itself, with which listed paths may begin, such as its name.
        where: beginning of messages, such as ``dataset.path=photos``.

    Raises:
        ValueError: the file has another form, a path is listed twice, no path matches, or a label is not valid.
    """
    entries = _read_entries(content, where)
    if not entries:
        return folder_classes(names)
    index = {_normalized(name): n for n, name in enumerate(names)}
    prefixes = [f"{_normalized(prefix)}/" for prefix in prefixes if prefix]
    listed = _match(entries, index, prefixes, where)
    if not listed:
        raise ValueError(
            f"{where}: none of the {len(entries):,} paths in {LABELS_FILE} is that of an image, such as {entries[0][0]}; the "
            f"images are named like {names[0]}"
        )
    if missing := len(entries) - len(listed):
        example = next(path for path, _ in entries if _find(_normalized(path), index, prefixes) is None)
        log.warning("%s: %s has %s without an image, such as %s", where, LABELS_FILE, format_count(missing, "path"), example)
    if unlabeled := len(names) - len(listed):
        example = next(name for n, name in enumerate(names) if n not in listed)
        log.warning("%s: %s has no label for %s, such as %s", where, LABELS_FILE, format_count(unlabeled, "image"), example)
    numbers, classes = number_classes(list(listed.values()), f"{where}: labels in {LABELS_FILE}")
    labels = np.full(len(names), -1, dtype=np.int64)
    labels[list(listed)] = numbers
    return labels, classes


def _read_entries(content: bytes, where: str) -> list[tuple[str, Any]] | None:
    try:
        entries = parse_json(content).get("labels")
        return None if entries is None else [(str(path), label) for path, label in entries]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f'{where}: {LABELS_FILE} must contain {{"labels": [[path, class_index], ...]}} ({error})') from error


def _match(entries: Sequence[tuple[str, Any]], index: dict[str, int], prefixes: Sequence[str], where: str) -> dict[int, Any]:
    """The label of each listed image, by its number."""
    listed: dict[int, Any] = {}
    seen: set[str] = set()
    for path, label in entries:
        number = _find(name := _normalized(path), index, prefixes)
        if name in seen or number in listed:
            raise ValueError(f"{where}: {LABELS_FILE} lists {path} twice; remove one of the entries")
        seen.add(name)
        if number is not None:
            listed[number] = label
    return listed


def _find(name: str, index: dict[str, int], prefixes: Sequence[str]) -> int | None:
    """The image with this name, or with this name after one of the prefixes."""
    names = [name, *(name.removeprefix(prefix) for prefix in prefixes)]
    return next((index[name] for name in names if name in index), None)


def _normalized(name: str) -> str:
    """A relative path with ``/`` and no empty parts; accents in one form, as file systems and programs differ in it."""
    parts = (part for part in PurePosixPath(with_slashes(name)).parts if part != "/")
    return unicodedata.normalize("NFC", "/".join(parts))


def _extremes(array: np.ndarray) -> list[int]:
    return [int(array.min()), int(array.max())] if array.size else []


def _as_text(name: str) -> str:
    """A folder's name as text that can be printed and stored, also if it is not in UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
