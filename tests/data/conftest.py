"""Arguments and an image folder shared by the dataset tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dataset_files import write_sizes
from helpers import picture


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, Any]:
    """Arguments of every DatasetBuilder."""
    return {"name": "test", "root": str(tmp_path / "data"), "size": 32, "channels": 1, "resize_mode": "pad"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of different modes in two classes, and two files to skip."""
    for n, mode in enumerate(("L", "RGB", "RGBA", "P", "CMYK", "1")):
        suffix = "tiff" if mode == "CMYK" else "png"
        picture(tmp_path / "images" / ("cats" if n % 2 else "dogs/puppies") / f"{n}.{suffix}", mode=mode)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    picture(tmp_path / "images" / ".hidden.png")
    return tmp_path / "images"


@pytest.fixture
def images_folder(tmp_path: Path) -> Path:
    """Five images of different sizes in two classes."""
    return write_sizes(tmp_path / "images")
