"""Upscales an image file, or those of a folder."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from gan_lab.runs.run import Run
from gan_lab.runs.upscaling import output_paths, passed_over
from gan_lab.utils.terminal import progress_bar


def upscale_files(run: Run, cfg: DictConfig) -> None:
    """Write upscaled images; those that exist or can't be upscaled don't stop the others.

    Raises:
        ValueError: an argument is wrong, all images exist already, or some could not be upscaled.
    """
    upscaler = run.tiled_upscaler(cfg.tile)
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
