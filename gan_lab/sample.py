"""Sample: ``python -m gan_lab.sample run=outputs/2026-01-01/12-00-00 count=64 seed=1``, or ``input=photo.jpg``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import CONF_DIR, check_used, run_command
from gan_lab.utils.suggestions import Typed, as_names, as_typed

if TYPE_CHECKING:
    from gan_lab.runs.run import Run


OTHER_USES = ("input", "style_mixing", "walk", "project", "latent")
"""Keys that select another use than generating single images, which is called ``count`` below."""

USES = {
    **{key: ["count", "style_mixing", "walk"] for key in ("count", "columns", "batch_size")},
    "seed": ["count", "style_mixing", "walk", "project"],
    "scale": ["count", "style_mixing", "walk", "project"],
    **{key: ["count"] for key in ("seeds", "singles")},
    "standing_statistics": ["count", "style_mixing", "walk", "project", "latent"],
    **{key: ["walk"] for key in ("keyframes", "frames", "fps")},
    **{key: ["project"] for key in ("projection", "perception")},
    "truncation": ["count", "style_mixing", "walk", "latent"],
    "classes": ["count", "style_mixing", "walk", "project"],
    "tile": ["input"],
}
"""The uses in which a key has an effect, of those that have none in some."""

SINGLE = re.compile(r"(.*-)?\d+\.png")
"""Names of single images."""


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="sample")
def sample(cfg: DictConfig) -> None:
    """Write generated images as a grid and as single files, or images upscaled by a super-resolution run."""
    from gan_lab.runs.run import Run
    from gan_lab.sampling.projecting import write_latent, write_projection
    from gan_lab.sampling.walking import write_walk

    given = [key for key in OTHER_USES if cfg[key] is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)}: give one of them")
    check_used(HydraConfig.get().overrides.task, given[0] if given else "count", USES)
    run = Run.open(cfg.run, cfg.checkpoint, cfg.device)
    if cfg.standing_statistics is not None and not run.use_standing_statistics(
        cfg.standing_statistics, cfg.batch_size, cfg.seed, cfg.truncation
    ):
        raise ValueError(f"standing_statistics={cfg.standing_statistics}: this generator has no batch normalization")
    if cfg.count is None:
        cfg.count = 64 if cfg.walk is None else 9
    if cfg.input is not None:
        _upscale(run, cfg)
    elif cfg.style_mixing is not None:
        _mix(run, cfg)
    elif cfg.walk is not None:
        write_walk(run, cfg, _classes(cfg))
    elif cfg.project is not None:
        write_projection(run, cfg, _classes(cfg))
    elif cfg.latent is not None:
        write_latent(run, cfg)
    else:
        _generate(run, cfg)


def _generate(run: Run, cfg: DictConfig) -> None:
    """Write images generated from latents."""
    from gan_lab.runs.draws import parse_seeds
    from gan_lab.utils.image_ops import image_grid, to_pil

    classes = _classes(cfg)
    folder, grid = _output(run, cfg)
    if cfg.seeds is None:
        numbers = list(range(cfg.count))
        images = run.sample(cfg.count, cfg.seed, cfg.batch_size, classes=classes, truncation=cfg.truncation)
    else:
        numbers = parse_seeds(str(cfg.seeds))
        images = run.sample_seeds(numbers, cfg.batch_size, classes=classes, truncation=cfg.truncation)
    columns = len(numbers) if classes and cfg.columns is None else cfg.columns
    names = [as_typed(name) for name in classes] if columns == len(numbers) else []
    grid.parent.mkdir(parents=True, exist_ok=True)
    image_grid(images, columns, cfg.scale, row_names=names).save(grid)
    where = f"grid {grid}"
    if cfg.singles:
        where += f", single images in {folder}"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():  # overwrite=true; there may be more files than are written now
            if SINGLE.fullmatch(old.name):
                old.unlink()
        digits = len(str(max(numbers)))
        prefixes = _file_prefixes(classes)
        for position, image in enumerate(images):
            prefix = prefixes[position // len(numbers)] if classes else ""
            to_pil(image).save(folder / f"{prefix}{numbers[position % len(numbers)]:0{digits}d}.png")
    print(f"{len(images)} images of {run.directory.path} at {run.images_seen:,} images seen: {where}")


def _mix(run: Run, cfg: DictConfig) -> None:
    """Write a grid of images with mixed styles."""
    from gan_lab.runs.style_mixing import mix_styles
    from gan_lab.utils.image_ops import image_grid

    layers, classes = as_names(cfg.style_mixing, "style_mixing") or [], _classes(cfg)
    if len(classes) > 1 or not all(isinstance(layer, int) for layer in layers):
        raise ValueError("style_mixing: takes numbers of layers, such as [0,1,2,3], and at most one class")
    _, grid = _output(run, cfg)
    columns = cfg.columns or max(1, math.isqrt(cfg.count))
    rows, name = max(1, cfg.count // columns), classes[0] if classes else None
    numbers = [layer for layer in layers if isinstance(layer, int)]
    images = mix_styles(run, numbers, rows, columns, cfg.seed, cfg.batch_size, name=name, truncation=cfg.truncation)
    grid.parent.mkdir(parents=True, exist_ok=True)
    image_grid(images, columns + 1, cfg.scale).save(grid)
    print(f"styles of {rows} and {columns} images of {run.directory.path}, mixed: {grid}")


def _output(run: Run, cfg: DictConfig) -> tuple[Path, Path]:
    """The folder of the single images, and the file of the grid next to it: the folder then holds images of one size.

    Raises:
        ValueError: one of them exists, or a number is out of range.
    """
    for key in ("scale", "columns"):
        if cfg[key] is not None and cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]}: must be at least 1")
    folder = Path(cfg.out).expanduser() if cfg.out else run.directory.samples / _folder_name(cfg)
    if folder.suffix.lower() == ".png":
        raise ValueError(f"out={cfg.out}: is the folder of the single images; the grid is a file next to it, {folder.stem}.png")
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    grid = folder.with_name(f"{folder.name}.png")
    exists = folder if folder.exists() and any(folder.iterdir()) else grid
    if exists.exists() and not cfg.overwrite:
        what = "already holds files" if exists is folder else "exists already"
        raise ValueError(f"{exists} {what}: choose another out=, another seed=, or overwrite=true")
    return folder, grid


def _upscale(run: Run, cfg: DictConfig) -> None:
    """Write an upscaled image, or those of a folder, where images that exist or can't be upscaled don't stop the others.

    Raises:
        ValueError: an argument is wrong, all images exist already, or some could not be upscaled.
    """
    from gan_lab.runs.upscaling import output_paths, passed_over
    from gan_lab.utils.terminal import progress_bar

    upscaler = run.tiled_upscaler(cfg.tile)
    for key in ("classes", "truncation", "standing_statistics", "style_mixing"):
        if cfg[key] is not None:
            raise ValueError(f"{key}={cfg[key]}: only for images generated from latents; leave it out with input=...")
    out = None if cfg.out is None else Path(cfg.out).expanduser()
    targets = output_paths(Path(cfg.input).expanduser(), out, run.upscaler.scale)
    if others := passed_over(Path(cfg.input).expanduser()):
        print(others)
    existing = [target for target in targets.values() if target.exists() and not cfg.overwrite]
    if len(existing) == len(targets):
        which = f"{existing[0]} and {len(existing) - 1} more exist" if len(existing) > 1 else f"{existing[0]} exists"
        raise ValueError(f"{which} already: choose another out=, or overwrite=true")
    if existing:
        which = f"{len(existing)} of {len(targets)} images"
        print(f"{which} exist already and are left as they are; overwrite=true makes them anew")
    failures = []
    for source, target in targets.items():
        if target in existing:
            continue
        try:
            with progress_bar(source.name, "rows") as progress:
                width, height = upscaler.write(source, target, progress)
            print(f"{target}  {width} x {height}")
        except ValueError as error:
            failures.append(str(error))
    if failures:
        several = f"{len(failures)} of {len(targets)} images could not be upscaled:\n" if len(targets) > 1 else ""
        raise ValueError(several + "\n".join(failures))


def _folder_name(cfg: DictConfig) -> str:
    """A folder name of the values that the images depend on, such as ``last-seed-0``."""
    seeds = ["seed", cfg.seed] if cfg.seeds is None else ["seeds", _file_name(cfg.seeds)]
    parts = [cfg.checkpoint, *seeds, *(_file_name(as_typed(name)) for name in _classes(cfg))]
    if cfg.truncation is not None:
        parts += ["truncation", f"{cfg.truncation:g}"]
    if cfg.standing_statistics is not None:
        parts += ["standing", cfg.standing_statistics]
    if cfg.style_mixing is not None:
        parts += ["styles", *(as_names(cfg.style_mixing, "style_mixing") or [])]
    return "-".join(map(str, parts))[:120]


def _classes(cfg: DictConfig) -> list[Typed]:
    """``classes`` as a list; it may be None, a single class, or a list."""
    return as_names(cfg.classes, "classes") or []


def _file_prefixes(classes: Sequence[Typed]) -> list[str]:
    """The beginning of each class's file names, with a number if names differ only in characters that files can't have."""
    names = [_file_name(as_typed(name)) for name in classes]
    return [f"{name}-" if names.count(name) == 1 else f"{name}_{n}-" for n, name in enumerate(names)]


def _file_name(name: object) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in str(name))


def quote_seeds(arguments: Sequence[str]) -> list[str]:
    """Quote the value of ``seeds=0-63,100``, of which Hydra would make several runs."""
    return [re.sub(r"^seeds=([\d, -]+)$", r"seeds='\1'", argument) for argument in arguments]


def main() -> None:
    run_command(sample, "sample", quote_seeds)


if __name__ == "__main__":
    main()
