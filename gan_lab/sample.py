"""Sample: ``python -m gan_lab.sample run=outputs/2026-01-01/12-00-00 count=64 seed=1``, or ``input=photo.jpg``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from gan_lab.config import CONF_DIR, run_command

if TYPE_CHECKING:
    from gan_lab.runs.run import Run


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="sample")
def sample(cfg: DictConfig) -> None:
    """Write a grid and single images of a run's generator, or pictures that it enlarges."""
    from gan_lab.runs.run import Run

    run = Run.open(cfg.run, cfg.checkpoint, cfg.device)
    (_draw if cfg.input is None else _enlarge)(run, cfg)


def _draw(run: Run, cfg: DictConfig) -> None:
    """Out of latents."""
    from gan_lab.utils.image_ops import image_grid, to_pil

    for key in ("scale", "columns"):
        if cfg[key] is not None and cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]}: must be at least 1")
    classes = _as_list(cfg.classes)
    folder = Path(cfg.out).expanduser() if cfg.out else run.directory.samples / _folder_name(cfg)
    if folder.exists() and any(folder.iterdir()) and not cfg.overwrite:
        raise ValueError(f"{folder} already holds files: choose another out=, another seed=, or overwrite=true")
    if cfg.standing_statistics is not None and not run.use_standing_statistics(
        cfg.standing_statistics, cfg.batch_size, cfg.seed, cfg.truncation
    ):
        raise ValueError("standing_statistics: this generator has no batch normalisation to measure")
    images = run.sample(cfg.count, cfg.seed, cfg.batch_size, classes=classes, truncation=cfg.truncation)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):  # of another count; asked for by overwrite=true
        old.unlink()
    columns = cfg.count if classes and cfg.columns is None else cfg.columns
    names = [str(name) for name in classes] if columns == cfg.count else []
    image_grid(images, columns, cfg.scale, row_names=names).save(folder / "grid.png")
    if cfg.singles:
        digits = len(str(cfg.count - 1))
        for number, image in enumerate(images):
            prefix = f"{_file_name(classes[number // cfg.count])}-" if classes else ""
            to_pil(image).save(folder / f"{prefix}{number % cfg.count:0{digits}d}.png")
    print(f"{len(images)} images of {run.directory.path} at {run.images_seen:,} images seen: {folder}/grid.png")


def _enlarge(run: Run, cfg: DictConfig) -> None:
    """A picture, or all of a folder."""
    from gan_lab.runs.upscaling import output_paths
    from gan_lab.utils.terminal import progress_bar

    enlarger = run.tiled_upscaler(cfg.tile)
    for key in ("classes", "truncation", "standing_statistics"):
        if cfg[key] is not None:
            raise ValueError(f"{key}={cfg[key]}: images out of latents have that; of input=... leave it out")
    out = None if cfg.out is None else Path(cfg.out).expanduser()
    found = output_paths(Path(cfg.input).expanduser(), out, run.upscaler.scale)
    if there := [target for target in found.values() if target.exists() and not cfg.overwrite]:
        more = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
        raise ValueError(f"{there[0]}{more} there already: choose another out=, or overwrite=true")
    for source, target in found.items():
        with progress_bar(source.name, "rows") as progress:
            width, height = enlarger.write(source, target, progress)
        print(f"{target}  {width} x {height}")


def _folder_name(cfg: DictConfig) -> str:
    """Says what the images depend on."""
    parts = [cfg.checkpoint, "seed", cfg.seed, *map(_file_name, _as_list(cfg.classes))]
    if cfg.truncation is not None:
        parts += ["truncation", f"{cfg.truncation:g}"]
    if cfg.standing_statistics is not None:
        parts += ["standing", cfg.standing_statistics]
    return "-".join(map(str, parts))[:120]


def _as_list(classes: Any) -> list[str | int]:
    """One name, or a list of them."""
    return [] if classes is None else [classes] if isinstance(classes, str | int) else list(classes)


def _file_name(name: object) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in str(name))


def main() -> None:
    run_command(sample, "sample")


if __name__ == "__main__":
    main()
