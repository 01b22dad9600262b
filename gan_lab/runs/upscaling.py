"""Upscaling of images of any mode and size with a super-resolution generator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_lab.data.degradation import upscale_bicubic
from gan_lab.data.image_decoding import open_image, split_alpha, upright
from gan_lab.data.image_files import SUFFIXES, describe_passed_over, find_image_files
from gan_lab.data.png_writer import PngWriter
from gan_lab.models.tiling import upscale_strips
from gan_lab.models.upscaler import Upscaler
from gan_lab.utils.progress import Progress

BICUBIC_MARGIN = 4
"""Rows above and below a strip that bicubic interpolation of the strip needs (3), and one more."""

OUTPUT_SUFFIX = ".png"


@dataclass(frozen=True)
class TiledUpscaler:
    """Upscales images tile by tile.

    A color network upscales a gray image as color. A gray network upscales the luma of a color image, and bicubic interpolation
    its chroma. An alpha channel is upscaled by bicubic interpolation.

    Attributes:
        network: the generator, in evaluation mode.
        channels: of its images, 1 or 3.
        device: the network's device.
        tile: side of a tile of the input, in pixels.
    """

    network: Upscaler
    channels: int
    device: torch.device
    tile: int

    def rows(self, color: Image.Image, alpha: Image.Image | None) -> Iterator[np.ndarray]:
        """Yield the upscaled image in strips from top to bottom, uint8 ``[rows, width, channels]``.

        Args:
            color: an image of mode L or RGB.
            alpha: its alpha channel, of mode L, or None.
        """
        only_luma = self.channels == 1 and color.mode == "RGB"
        source = color.convert("YCbCr") if only_luma else color

        def read(top: int, bottom: int) -> Tensor:
            rows = _read_rows(source, top, bottom)
            return rows[:1] if only_luma else rows.expand(self.channels, -1, -1)

        top = 0
        for strip in upscale_strips(self.network, read, color.height, color.width, self.device, self.tile):
            bottom = top + strip.shape[1] // self.network.scale
            if only_luma:
                strip = torch.cat([strip, self._interpolate(source, top, bottom)[1:]])
                rows = np.asarray(Image.fromarray(_as_array(strip), "YCbCr").convert("RGB"))
            elif color.mode == "L" and self.channels == 3:
                rows = np.asarray(Image.fromarray(_as_array(strip), "RGB").convert("L"))[:, :, None]
            else:
                rows = _as_array(strip)
            if alpha is not None:
                rows = np.concatenate([rows, _as_array(self._interpolate(alpha, top, bottom))], 2)
            yield rows
            top = bottom

    def _interpolate(self, image: Image.Image, top: int, bottom: int) -> Tensor:
        """Rows ``top`` to ``bottom`` of an image, upscaled by bicubic interpolation of the whole image."""
        start, scale = max(0, top - BICUBIC_MARGIN), self.network.scale
        large = upscale_bicubic(_read_rows(image, start, min(image.height, bottom + BICUBIC_MARGIN)), scale)
        return large[:, scale * (top - start) : scale * (bottom - start)]

    def write(self, source: Path, target: Path, progress: Progress) -> tuple[int, int]:
        """Upscale an image file to a PNG file, which appears when it is complete.

        Args:
            source: an image file of any format that Pillow reads.
            target: the PNG file; missing parent folders are created.
            progress: called with the number of rows written and their total.

        Returns:
            Width and height of the upscaled image.

        Raises:
            ValueError: the image can't be read, has more than :data:`~gan_lab.data.image_decoding.MAX_PIXELS`, or the target
                can't be written.
        """
        color, alpha, profile = _open_layers(source)
        width, height = color.width * self.network.scale, color.height * self.network.scale
        channels = len(color.getbands()) + (alpha is not None)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as handle, PngWriter(handle, width, height, channels, profile) as png:
                done = 0
                for rows in self.rows(color, alpha):
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

    def upscale(self, image: Image.Image) -> Image.Image:
        """Upscale an image of any mode in memory; EXIF orientation is applied."""
        color, alpha = split_alpha(upright(image))
        rows = np.concatenate(list(self.rows(color, alpha)))
        return Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)


def output_paths(source: Path, out: Path | None, scale: int) -> dict[Path, Path]:
    """The output file of each image of a file or a folder.

    Without ``out``, ``photo.jpg`` becomes ``photo_x4.png`` next to it, and the images of the folder ``photos`` go to the folder
    ``photos_x4`` next to that.

    Args:
        source: an image, or a folder that is searched recursively; hidden files and images below ``out`` are left out.
        out: the output folder, or None.
        scale: the scale factor, for the names.

    Raises:
        ValueError: there is no image, or two images would have the same output file.
    """
    suffix = f"_x{scale}"
    if source.is_file():
        return {source: (out or source.parent) / f"{source.stem}{suffix}{OUTPUT_SUFFIX}"}
    if not source.is_dir():
        raise ValueError(f"input={source}: there is no such file or folder")
    out_is_inside = out is not None and out.resolve().is_relative_to(source.resolve())
    targets: dict[Path, Path] = {}
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        is_output = out_is_inside and out is not None and path.resolve().is_relative_to(out.resolve())
        if path.suffix.lower() in SUFFIXES and path.is_file() and not (is_hidden or is_output):
            targets[path] = (out or source.with_name(f"{source.resolve().name}{suffix}")) / relative.with_suffix(OUTPUT_SUFFIX)
    if not targets:
        others = passed_over(source)
        raise ValueError(f"input={source}: there is no image in this folder or below it{f'; {others}' if others else ''}")
    names = list(targets.values())
    if repeated := next((target for target in names if names.count(target) > 1), None):
        images = " and ".join(str(image) for image, target in targets.items() if target == repeated)
        raise ValueError(f"input={source}: {images} would both become {repeated}; rename one, or upscale them one by one")
    return targets


def passed_over(source: Path) -> str:
    """One line about the files of a folder that are no images, by ending; empty if there are none, or for a single image."""
    others = find_image_files(source).passed_over if source.is_dir() else {}
    return describe_passed_over(others) if others else ""


def _open_layers(path: Path) -> tuple[Image.Image, Image.Image | None, bytes | None]:
    """An image file's color or gray image, its alpha channel, and its ICC profile if that applies to the color image."""
    try:
        with open_image(path) as image:
            profile = image.info.get("icc_profile") if image.mode in ("L", "LA", "RGB", "RGBA") else None
            color, alpha = split_alpha(upright(image))
            color.load()  # before the file is closed
            return color, alpha, profile
    except Exception as error:  # decoders raise many types for damaged files
        raise ValueError(f"{path} can't be read ({error})") from error


def _read_rows(image: Image.Image, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of an image, uint8 ``[C, rows, width]``."""
    rows = np.array(image.crop((0, top, image.width, bottom)))
    return torch.from_numpy(rows[None] if rows.ndim == 2 else rows.transpose(2, 0, 1))


def _as_array(strip: Tensor) -> np.ndarray:
    return strip.permute(1, 2, 0).contiguous().numpy()
