"""Published files: found in a folder or downloaded there, and verified by their checksums."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch


@dataclass(frozen=True)
class Checksum:
    """A published checksum.

    Attributes:
        algorithm: ``md5`` or ``sha256``.
        digits: hexadecimal; for SHA-256 the first digits are enough, as in the file names of PyTorch Hub.
    """

    algorithm: str
    digits: str

    def __str__(self) -> str:
        return f"{self.label} {self.digits}"

    @property
    def label(self) -> str:
        return "MD5" if self.algorithm == "md5" else "its SHA-256 begins with"

    def of(self, path: Path) -> str:
        """As many digits of the file's checksum as are published."""
        return file_digest(path, self.algorithm)[: len(self.digits)]

    def matches(self, path: Path) -> bool:
        """Whether the file's content is the published one."""
        return self.of(path) == self.digits

    def verify(self, path: Path, needed_by: str) -> Path:
        """Return ``path`` if its content is the published one.

        Args:
            path: the file.
            needed_by: what needs it, for the message: "dataset=mnist".

        Raises:
            ValueError: it is another file.
        """
        if not self.matches(path):
            raise ValueError(
                f"{needed_by}: {path} is not the published file ({self.label} {self.of(path)} instead of {self.digits}); "
                "remove it"
            )
        return path


def file_digest(path: Path, algorithm: str) -> str:
    """The hexadecimal checksum of a file; computed again only after the file has changed."""
    stat = path.stat()
    return _file_digest(path, algorithm, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _file_digest(path: Path, algorithm: str, size: int, modification_time: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of ``names`` that is a file in ``folder``."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def obtain_file(
    folder: Path,
    names: Sequence[str],
    urls: Sequence[str],
    checksum: Checksum | None,
    needed_by: str,
    advice: str,
    *,
    show_progress: bool = False,
) -> Path:
    """A published file under any of its usual names; downloaded under the first of them if there is none.

    Args:
        folder: where the file is looked for and downloaded to.
        names: its usual names.
        urls: tried in this order until one succeeds; none: the file is not downloaded.
        checksum: None if none is published.
        needed_by: what needs the file, for the message: "dataset=mnist".
        advice: end of the message: "set paths.data".
        show_progress: whether a download shows a progress bar.

    Raises:
        ValueError: the file is not there and cannot be downloaded, or its checksum differs. The message says where to put it.
    """
    if (path := find_file(folder, names)) is not None:
        return path if checksum is None else checksum.verify(path, needed_by)
    path, reasons = folder / names[0], []
    for url in urls:
        try:
            return _download(url, path, checksum, show_progress)
        except (OSError, RuntimeError, HTTPException, ValueError) as error:
            reasons.append(f"{url}: {error}")
    wanted = "" if checksum is None else f" ({checksum})"
    raise ValueError(
        f"{needed_by} needs {path}, which is not there and could not be downloaded ({'; '.join(reasons)}). Put the published "
        f"{names[0]} there{wanted}, or {advice}"
    )


def _download(url: str, path: Path, checksum: Checksum | None, show_progress: bool) -> Path:
    """Download to a temporary name; rename the file once it is complete and verified."""
    temporary = path.with_name(f"{path.name}.download")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(temporary), progress=show_progress)
        if checksum is not None and not checksum.matches(temporary):
            raise ValueError(f"{checksum.label} {checksum.of(temporary)} instead of {checksum.digits}")
        return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
