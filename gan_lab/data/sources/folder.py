"""A folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from gan_lab.data.images import FITS, ImageSet, to_channels
from gan_lab.data.sources.base import Source

SUFFIXES = frozenset(Image.registered_extensions())


class Folder(Source):
    """Every picture below a folder, in the order of the paths. Sub-folders of the first level are the classes.

    Args:
        path: the folder.
        shape: the rest are :class:`Source`'s.
    """

    def __init__(self, *, path: str, **shape: Any) -> None:
        super().__init__(**shape)
        self._path = Path(path).expanduser()

    def read(self) -> ImageSet:
        files = self._files()
        files = [files[n] for n in self.choose(len(files))]
        images = torch.empty(len(files), self.channels, self.size, self.size, dtype=torch.uint8)
        for image, file in zip(images, files, strict=True):
            image.copy_(self._decode(file))
        folders = [file.relative_to(self._path).parts[0] for file in files]
        classes = tuple(sorted({f for f, file in zip(folders, files, strict=True) if file.parent != self._path}))
        if not classes:
            return ImageSet(images)
        return ImageSet(images, torch.tensor([classes.index(f) if f in classes else -1 for f in folders]), classes)

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            raise ValueError(f"dataset.path={self._path}: there is no such folder")
        files = sorted(f for f in self._path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        if not files:
            raise ValueError(f"dataset.path={self._path}: no picture in this folder or below it")
        return files

    def _decode(self, file: Path) -> torch.Tensor:
        try:
            with Image.open(file) as picture:
                array = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ValueError(f"dataset.path: {file} can't be read as a picture ({error}); mend or remove it") from error
        image = torch.from_numpy(array.copy()).permute(2, 0, 1)[None]
        return FITS[self.fit](to_channels(image, self.channels), self.size)[0]
