"""Pictures of any kind and size through a run's generator, into files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gan_lab.data.degradation import upscale_bicubic
from gan_lab.data.image_decoding import MAX_PIXELS, split_alpha
from gan_lab.data.png_writer import PngWriter
from gan_lab.data.raw_images import SUFFIXES
from gan_lab.models.tiling import upscale_strips
from gan_lab.models.upscaler import Upscaler
from gan_lab.utils.progress import Progress

BESIDE = 4
"""Rows of a small picture that bicubic interpolation looks at around others, and one to spare."""

ENDING = ".png"


@dataclass(frozen=True)
class TiledUpscaler:
    """A generator at work on pictures.

    Colour networks are given grey pictures as colour, and grey ones the luma of coloured pictures, whose colours are then
    interpolated. Transparency is interpolated.

    Attributes:
        network: in evaluation mode.
        channels: of its pictures, 1 or 3.
        device: where it is.
        tile: pixels of a small picture across that are enlarged at a time.
    """

    network: Upscaler
    channels: int
    device: torch.device
    tile: int

    def rows(self, colour: Image.Image, alpha: Image.Image | None) -> Iterator[np.ndarray]:
        """The large picture from top to bottom, uint8 ``[n, width, channels]``.

        Args:
            colour: of mode L or RGB.
            alpha: of mode L, or None.
        """
        wants_luma = self.channels == 1 and colour.mode == "RGB"
        source = colour.convert("YCbCr") if wants_luma else colour

        def read(top: int, bottom: int) -> Tensor:
            rows = _part(source, top, bottom)
            return rows[:1] if wants_luma else rows.expand(self.channels, -1, -1)

        top = 0
        for strip in upscale_strips(self.network, read, colour.height, colour.width, self.device, self.tile):
            bottom = top + strip.shape[1] // self.network.scale
            if wants_luma:
                strip = torch.cat([strip, self._interpolated(source, top, bottom)[1:]])
                rows = np.asarray(Image.fromarray(_as_array(strip), "YCbCr").convert("RGB"))
            elif colour.mode == "L" and self.channels == 3:
                rows = np.asarray(Image.fromarray(_as_array(strip), "RGB").convert("L"))[:, :, None]
            else:
                rows = _as_array(strip)
            if alpha is not None:
                rows = np.concatenate([rows, _as_array(self._interpolated(alpha, top, bottom))], 2)
            yield rows
            top = bottom

    def _interpolated(self, picture: Image.Image, top: int, bottom: int) -> Tensor:
        """Rows of a picture enlarged by interpolation, as if the whole had been."""
        start, scale = max(0, top - BESIDE), self.network.scale
        large = upscale_bicubic(_part(picture, start, min(picture.height, bottom + BESIDE)), scale)
        return large[:, scale * (top - start) : scale * (bottom - start)]

    def write(self, source: Path, target: Path, progress: Progress) -> tuple[int, int]:
        """Enlarge the picture in one file into another, a PNG, which is there when it is whole.

        Returns:
            Width and height of the large picture.

        Raises:
            ValueError: the target can't be written, or the picture can't be read or has more than
                :data:`~gan_lab.data.image_decoding.MAX_PIXELS`.
        """
        colour, alpha, profile = _opened(source)
        width, height = colour.width * self.network.scale, colour.height * self.network.scale
        channels = len(colour.getbands()) + (alpha is not None)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as handle, PngWriter(handle, width, height, channels, profile) as png:
                done = 0
                for rows in self.rows(colour, alpha):
                    png.write(rows)
                    done += len(rows)
                    progress(done, height)
            unfinished.replace(target)
        except OSError as error:
            raise ValueError(f"{target} can't be written ({error.strerror or error}); choose another out=") from error
        finally:
            with suppress(OSError):
                unfinished.unlink()
        return width, height

    def upscale(self, picture: Image.Image) -> Image.Image:
        """A picture of any mode, as large as it becomes; whole in memory."""
        colour, alpha = split_alpha(ImageOps.exif_transpose(picture))
        rows = np.concatenate(list(self.rows(colour, alpha)))
        return Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)


def output_paths(given: Path, out: Path | None, scale: int) -> dict[Path, Path]:
    """Each picture of a file or a folder to where its enlargement goes.

    That of ``photo.jpg`` is ``photo_x4.png`` beside it, those of the folder ``pictures`` are in ``pictures_x4`` beside that; or
    both in the folder ``out``.

    Raises:
        ValueError: there is no picture, or two would go to one place.
    """
    ending = f"_x{scale}"
    if given.is_file():
        return {given: (out or given.parent) / f"{given.stem}{ending}{ENDING}"}
    if not given.is_dir():
        raise ValueError(f"input={given}: there is no such file or folder")
    inside = out is not None and out.resolve().is_relative_to(given.resolve())
    found: dict[Path, Path] = {}
    for path in sorted(given.rglob("*")):
        below = path.relative_to(given)
        hidden = any(part.startswith(".") for part in below.parts)
        own = inside and out is not None and path.resolve().is_relative_to(out.resolve())
        if path.suffix.lower() in SUFFIXES and path.is_file() and not (hidden or own):
            found[path] = (out or given.with_name(f"{given.resolve().name}{ending}")) / below.with_suffix(ENDING)
    if not found:
        raise ValueError(f"input={given}: no picture in it or below it")
    places = list(found.values())
    if doubled := next((place for place in places if places.count(place) > 1), None):
        names = " and ".join(str(source) for source, place in found.items() if place == doubled)
        raise ValueError(f"input={given}: {names} would both become {doubled}; rename one, or enlarge them one by one")
    return found


def _opened(path: Path) -> tuple[Image.Image, Image.Image | None, bytes | None]:
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(
                    f"{path}: {picture.width} x {picture.height} pixels are more than the {MAX_PIXELS:,} allowed; enlarge parts"
                )
            profile = picture.info.get("icc_profile") if picture.mode in ("L", "LA", "RGB", "RGBA") else None
            colour, alpha = split_alpha(ImageOps.exif_transpose(picture))
            return colour, alpha, profile
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} can't be read ({error})") from error


def _part(picture: Image.Image, top: int, bottom: int) -> Tensor:
    """Rows as uint8 ``[C, n, w]``."""
    rows = np.array(picture.crop((0, top, picture.width, bottom)))
    return torch.from_numpy(rows[None] if rows.ndim == 2 else rows.transpose(2, 0, 1))


def _as_array(strip: Tensor) -> np.ndarray:
    return strip.permute(1, 2, 0).contiguous().numpy()
