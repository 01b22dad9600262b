"""Writes many images as PNG files, into a folder or a zip file, while further ones are generated."""

from __future__ import annotations

import io
import re
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from gan_lab.runtime.device import available_cores
from gan_lab.storage.files import atomic_file
from gan_lab.utils.image_ops import to_pil

SINGLE = re.compile(r"(.*-)?\d+\.png")
"""Names of single images."""

MAX_WAITING = 256
"""Encoded images that wait to be written."""


def write_singles(images: Iterable[tuple[str, Tensor]], path: Path) -> None:
    """Write PNG files; those of an earlier sample in the same folder are removed.

    Args:
        images: names and uint8 images ``[C, H, W]``.
        path: a folder, or a zip file, which appears when it is complete.
    """
    if path.suffix.lower() == ".zip":
        with atomic_file(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
            for name, content in _encode(images):  # PNG is compressed already
                archive.writestr(name, content)
        return
    path.mkdir(parents=True, exist_ok=True)
    for old in path.iterdir():  # overwrite=true; there may be more files than are written now
        if SINGLE.fullmatch(old.name):
            old.unlink()
    for name, content in _encode(images):
        (path / name).write_bytes(content)


def _encode(images: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, bytes]]:
    """Names and PNG files in order, encoded by threads: zlib releases the GIL."""
    pending: deque[tuple[str, Future[bytes]]] = deque()
    with ThreadPoolExecutor(available_cores()) as pool:
        for name, image in images:
            pending.append((name, pool.submit(_png, image)))
            if len(pending) > MAX_WAITING:
                first, encoded = pending.popleft()
                yield first, encoded.result()
        yield from ((name, encoded.result()) for name, encoded in pending)


def _png(image: Tensor) -> bytes:
    held = io.BytesIO()
    to_pil(image).save(held, format="PNG")
    return held.getvalue()
