"""Writes images of a plane of the latent space, as the explorer of a run's page shows it."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from gan_lab.models.draws import parse_seeds
from gan_lab.models.latent_plane import LatentPlane, square_points
from gan_lab.runs.run import Run
from gan_lab.sampling.output import classes_of, output_file, show
from gan_lab.utils.image_ops import image_grid

SIDE = 8
"""Images in a row of the whole plane, without ``columns``."""


def write_plane(run: Run, cfg: DictConfig) -> None:
    """Write the image at the point ``cfg.at``, or without it a grid of the whole plane.

    Raises:
        ValueError: a value is out of range, there is no such class, or the file exists.
    """
    if cfg.scale < 1 or (cfg.columns is not None and cfg.columns < 2):
        raise ValueError(f"scale={cfg.scale} must be at least 1, and columns={cfg.columns} of a plane at least 2")
    point = None if cfg.at is None else parse_point(str(cfg.at))
    side = cfg.columns or SIDE
    bound = None if run.generator.truncates_styles else cfg.truncation
    run.check_truncation(cfg.truncation)
    plane = LatentPlane.through(run.latents, run.labels, parse_seeds(str(cfg.plane), "plane"), classes_of(cfg), bound)
    name = "plane" if point is None else "plane-" + "-".join(f"{value:g}" for value in point)
    out = output_file(cfg, run.directory.samples / f"{name}-seeds-{cfg.plane}.png".replace(",", "_").replace(" ", ""))
    points = square_points(side) if point is None else torch.tensor([point])
    images = torch.cat([_images(run, plane, part, cfg.truncation) for part in points.split(cfg.batch_size)])
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = image_grid(images, side if point is None else 1, cfg.scale)
    picture.save(out)
    show(picture, images.shape[-1], cfg)
    print(f"{'a plane' if point is None else 'an image'} of {run.directory.path}: {out}")


def _images(run: Run, plane: LatentPlane, points: torch.Tensor, truncation: float | None) -> torch.Tensor:
    latents, labels = (None if part is None else part.to(run.device) for part in plane.at(points))
    assert latents is not None
    return run.render(run.styles(latents, labels, truncation), labels)


def parse_point(text: str) -> tuple[float, float]:
    """The coordinates ``0.25,0.5``.

    Raises:
        ValueError: the text has another form, or a coordinate lies outside of [0, 1].
    """
    try:
        x, y = (float(part) for part in text.strip("[]").split(","))
    except ValueError:
        raise ValueError(f"at={text}: must be two numbers, from the left and from the top, such as at=0.25,0.5") from None
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"at={text}: both numbers must lie in [0, 1]")
    return x, y
