"""Writes small datasets of random images in their published formats, and image folders."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers import as_pillow, photograph, picture

from gan_lab.data.datasets.cifar import KINDS
from gan_lab.data.datasets.folder import Folder

RNG = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">I{array.ndim}I", 2048 + array.ndim, *array.shape) + array.tobytes())
    return path


def write_mnist(folder: Path, kind: str = "MNIST") -> dict[str, np.ndarray]:
    """12 training and 5 test images with labels 0, 1, 2, ...; returns the images by part."""
    arrays = {}
    for part, count in (("train", 12), ("t10k", 5)):
        arrays[part] = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / kind / "raw" / f"{part}-images-idx3-ubyte", arrays[part])
        write_idx(folder / kind / "raw" / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    return arrays


def write_cifar(folder: Path, kind: str) -> np.ndarray:
    """The same 10 images with labels 0 to 9 in every file; returns them as stored, ``[10, 3072]``."""
    layout = KINDS[kind]
    target = folder / layout.folder
    target.mkdir(parents=True)
    rows = RNG.integers(0, 256, (10, 3072), dtype=np.uint8)
    for part in (*layout.train, *layout.test):
        (target / part).write_bytes(pickle.dumps({"data": rows, layout.labels: list(range(10))}, protocol=2))
    (target / layout.meta).write_bytes(pickle.dumps({layout.names: [f"class {n}" for n in range(100)]}))
    return rows


def make_zip(folder: Path, **extra: bytes) -> Path:
    """Zip a folder, and add files by name and content."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
        for name, content in extra.items():
            archive.writestr(name, content)
    return path


def write_images(path: Path, count: int) -> Path:
    """JPEG files of 24x24 pixels."""
    for n in range(count):
        picture(path / f"{n:05d}.jpg", 24, 24)
    return path


def folder_dataset(path: Path, shared: dict[str, Any], **changed: Any) -> Folder:
    """A builder for images of 16x16 pixels."""
    return Folder(path=str(path), **{**shared, "size": 16, **changed})


class Malicious:
    """Runs a command when unpickled without restrictions."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


SIZES = [(20, 31), (64, 8), (33, 33), (9, 50), (41, 27)]
"""Height and width of the images of ``write_sizes``."""


def write_sizes(folder: Path) -> Path:
    """Five PNG files of different sizes, ``n.png`` in the class folder ``a`` or ``b``."""
    for number, (height, width) in enumerate(SIZES):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        as_pillow(photograph(height, width, number)).save(path)
    return folder


def whole_images(path: Path, **changed: Any) -> Folder:
    """A builder for images at their original sizes."""
    arguments = {"name": "folder", "root": str(path.parent / "data"), "size": 16, "channels": 3, "resize_mode": "whole"}
    return Folder(path=str(path), **{**arguments, **changed})


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
