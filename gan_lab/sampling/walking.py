"""Writes a film of a walk through the latent space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from omegaconf import DictConfig
from torch import Tensor

from gan_lab.runs.run import Run
from gan_lab.runs.video import check_video, write_video
from gan_lab.runs.walks import WalkOptions, walk
from gan_lab.sampling.output import classes_of, output_file
from gan_lab.utils.image_ops import image_grid
from gan_lab.utils.progress import Progress
from gan_lab.utils.terminal import progress_bar


def write_walk(run: Run, cfg: DictConfig) -> None:
    """Write the film that ``cfg.walk`` describes.

    Raises:
        ValueError: a number is out of range, the file exists, or it has another ending than a film.
    """
    out = output_file(cfg, run.directory.samples / f"walk-{cfg.walk}-seed-{cfg.seed}.webp")
    check_video(out, cfg.fps)
    if cfg.scale < 1 or (cfg.columns is not None and cfg.columns < 1):
        raise ValueError(f"scale={cfg.scale} and columns={cfg.columns} must be at least 1")
    options = WalkOptions(cfg.count, cfg.keyframes, cfg.seed, classes_of(cfg), cfg.truncation)
    frames = walk(run, cfg.walk, cfg.frames, options, cfg.batch_size)
    with progress_bar(out.name, "frames") as progress:
        grids = (image_grid(images, cfg.columns, cfg.scale) for images in _counted(frames, cfg.frames, progress))
        write_video(grids, out, cfg.fps)
    print(f"{cfg.frames} frames, {cfg.frames / cfg.fps:.3g} s: {out}")


def _counted(frames: Iterable[Tensor], total: int, progress: Progress) -> Iterator[Tensor]:
    for number, frame in enumerate(frames, 1):
        yield frame
        progress(number, total)
