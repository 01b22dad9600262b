"""Where the images of a run are written, and under which names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from PIL import Image

from gan_lab.runs.run import Run
from gan_lab.utils.suggestions import Typed, as_names, as_typed
from gan_lab.utils.terminal_pictures import show_grid


def classes_of(cfg: DictConfig) -> list[Typed]:
    """``classes`` as a list; it may be None, a single class, or a list."""
    return as_names(cfg.classes, "classes") or []


def output_file(cfg: DictConfig, default: Path) -> Path:
    """The file to write to.

    Raises:
        ValueError: it exists.
    """
    path = Path(cfg.out).expanduser() if cfg.out else default
    if path.exists() and not cfg.overwrite:
        raise ValueError(f"{path} exists already: choose another out=, another seed=, or overwrite=true")
    return path


def singles_and_grid(run: Run, cfg: DictConfig) -> tuple[Path, Path]:
    """The folder or zip file of the single images, and the file of the grid next to it: then all images in it have one size.

    Raises:
        ValueError: one of them exists, or a number is out of range.
    """
    for key in ("scale", "columns"):
        if cfg[key] is not None and cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]}: must be at least 1")
    singles = Path(cfg.out).expanduser() if cfg.out else run.directory.samples / _folder_name(cfg)
    if singles.suffix.lower() == ".png":
        raise ValueError(
            f"out={cfg.out}: is the folder of the single images; the grid is a file next to it, {singles.stem}.png"
        )
    singles = singles if singles.name not in ("", "..") else singles.resolve()
    is_zip = singles.suffix.lower() == ".zip"
    grid = singles.with_suffix(".png") if is_zip else singles.with_name(f"{singles.name}.png")
    exists = singles if (singles.is_file() if is_zip else singles.exists() and any(singles.iterdir())) else grid
    if exists.exists() and not cfg.overwrite:
        what = "exists already" if exists.is_file() else "already holds files"
        raise ValueError(f"{exists} {what}: choose another out=, another seed=, or overwrite=true")
    return singles, grid


def check_show(value: object) -> None:
    """Raise ValueError if ``show`` has another value than those it may have."""
    if value != "auto" and not isinstance(value, bool):
        raise ValueError(f"show={value}: must be auto, true or false")


def show(grid: Image.Image, size: int, cfg: DictConfig) -> None:
    """Show a grid of images with ``size`` pixels a side in the terminal, unless ``show=false``."""
    if cfg.show:
        show_grid(grid, size, cfg.scale, blocks=cfg.show is True)


def file_prefixes(classes: Sequence[Typed]) -> list[str]:
    """The beginning of each class's file names, with a number if names differ only in characters that files can't have."""
    names = [_file_name(as_typed(name)) for name in classes]
    return [f"{name}-" if names.count(name) == 1 else f"{name}_{n}-" for n, name in enumerate(names)]


def _folder_name(cfg: DictConfig) -> str:
    """A folder name of the values that the images depend on, such as ``last-seed-0``."""
    seeds = ["seed", cfg.seed] if cfg.seeds is None else ["seeds", _file_name(cfg.seeds)]
    parts = [cfg.checkpoint, *seeds, *(_file_name(as_typed(name)) for name in classes_of(cfg))]
    if cfg.truncation is not None:
        parts += ["truncation", f"{cfg.truncation:g}"]
    if cfg.standing_statistics is not None:
        parts += ["standing", cfg.standing_statistics]
    if cfg.style_mixing is not None:
        parts += ["styles", *(as_names(cfg.style_mixing, "style_mixing") or [])]
    return "-".join(map(str, parts))[:120]


def _file_name(name: object) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in str(name))
