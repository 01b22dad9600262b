"""The sheet of generated images that a run's page shows as a map of the latent space."""

from __future__ import annotations

import json
import math
import time

import torch
from torch import Tensor, nn

from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latent_plane import LatentPlane, square_points
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.storage.files import atomic_file, write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import to_pil, to_uint8

SEEDS = tuple(range(9))
"""Whose latents are the corners of the four squares of a plane, row by row."""

SIDES = (17, 13, 9, 5)
"""Images in a row of a plane, of which the first, the middle and the last have the latents of seeds."""

MAX_PLANES = 10
"""Upper bound of the number of classes that have a plane."""

MAX_PIXELS = 2**22
"""Upper bound of the number of pixels of all planes."""

MAX_SIZE = 128
"""Side of an image on the sheet, in pixels; larger images are reduced."""

BATCH = 32


def write_explorer(
    directory: RunDirectory,
    generator: nn.Module,
    latents: NormalLatents | NoLatents,
    labels: Labels | NoLabels,
    device: torch.device,
    images_seen: int,
    max_seconds: float = math.inf,
) -> None:
    """Write ``explorer.webp`` and ``explorer.json``; nothing for a generator without latents.

    Args:
        directory: of the run.
        generator: on ``device``, in evaluation mode.
        latents, labels: the sources of its input.
        device: of the generator.
        images_seen: by the generator.
        max_seconds: the planes have as few images as :data:`SIDES` allows, rather than take longer.
    """
    if isinstance(latents, NoLatents):
        return
    classes = labels.available_classes()[:MAX_PLANES]
    planes = [LatentPlane.through(latents, labels, SEEDS, [name]) for name in classes]
    planes = planes or [LatentPlane.through(latents, labels, SEEDS)]
    started = time.perf_counter()
    size = _draw(generator, planes[0], SIDES[-1], device)[0].shape[-1]
    expected = (time.perf_counter() - started) * len(planes) / SIDES[-1] ** 2
    side = next((n for n in SIDES if n**2 * expected <= max_seconds and _fits(n, size, len(planes))), SIDES[-1])
    sheet = torch.cat([_tile(_draw(generator, plane, side, device), side) for plane in planes], dim=1)
    with atomic_file(directory.explorer) as handle:
        to_pil(sheet).save(handle, format="WEBP", quality=90)
    plan = {"side": side, "nodes": math.isqrt(len(SEEDS)), "seeds": SEEDS, "planes": classes, "images": images_seen}
    write_atomically(directory.explorer_plan, json.dumps(plan, indent=2))


def _fits(side: int, size: int, planes: int) -> bool:
    return planes * (side * min(size, MAX_SIZE)) ** 2 <= MAX_PIXELS


@torch.no_grad()
def _draw(generator: nn.Module, plane: LatentPlane, side: int, device: torch.device) -> list[Tensor]:
    """The images of a plane, row by row, uint8 ``[C, H, W]`` on the CPU."""
    images: list[Tensor] = []
    for points in square_points(side).split(BATCH):
        z, labels = plane.at(points)
        batch = to_uint8(generator(z.to(device), None if labels is None else labels.to(device)))
        images += _reduced(batch.cpu())
    return images


def _reduced(images: Tensor) -> Tensor:
    factor = math.ceil(images.shape[-1] / MAX_SIZE)
    if factor == 1:
        return images
    return torch.nn.functional.avg_pool2d(images.float(), factor).round().to(torch.uint8)


def _tile(images: list[Tensor], side: int) -> Tensor:
    """One image ``[C, side * H, side * W]``."""
    return torch.cat([torch.cat(images[n : n + side], dim=2) for n in range(0, len(images), side)], dim=1)
