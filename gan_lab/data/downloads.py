"""Files of published data sets: found under ``paths.data``, or downloaded there and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.utils import download_url


def md5(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


def obtain_file(folder: Path, name: str, addresses: Sequence[str], checksum: str, dataset: str, download: bool = True) -> Path:
    """The file ``name`` in ``folder``; where it is missing and ``download`` is true, from the first of ``addresses`` to answer.

    Raises:
        ValueError: it can't be had, or its MD5 sum is not ``checksum``; the message says where to put it.
    """
    path = folder / name
    reasons = []
    if not path.is_file():
        for address in addresses if download else ():
            try:
                download_url(address, str(folder), filename=f"{name}.download", md5=checksum)
            except (OSError, RuntimeError) as error:
                (folder / f"{name}.download").unlink(missing_ok=True)
                reasons.append(str(error))
            else:
                (folder / f"{name}.download").replace(path)
                return path
        raise ValueError(
            f"dataset={dataset} needs {path}, which is not there and could not be downloaded ({'; '.join(reasons)}). "
            f"Put the published {name} there (MD5 {checksum}), or set paths.data"
        )
    return verified(path, checksum, dataset)


def verified(path: Path, checksum: str, dataset: str) -> Path:
    """``path``, if its content is the published one.

    Raises:
        ValueError: it is not.
    """
    found = md5(path)
    if found != checksum:
        raise ValueError(f"dataset={dataset}: {path} is not the published file (MD5 {found} instead of {checksum}); remove it")
    return path
