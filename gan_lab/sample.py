"""Sample: ``python -m gan_lab.sample run=outputs/2026-01-01/12-00-00 count=64 seed=1``."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from gan_lab.config import CONF_DIR, run_command


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="sample")
def sample(cfg: DictConfig) -> None:
    """Write a grid and single images of a run's generator."""
    from gan_lab.data.images import grid, to_picture
    from gan_lab.run import Run

    run = Run.open(cfg.run, cfg.checkpoint, cfg.device)
    for key in ("scale", "columns"):
        if cfg[key] is not None and cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]}: must be at least 1")
    folder = Path(cfg.out).expanduser() if cfg.out else run.directory.samples / f"{cfg.checkpoint}-seed-{cfg.seed}"
    if folder.exists() and any(folder.iterdir()) and not cfg.overwrite:
        raise ValueError(f"{folder} already holds files: choose another out=, another seed=, or overwrite=true")
    images = run.sample(cfg.count, cfg.seed, cfg.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):  # of another count; asked for by overwrite=true
        old.unlink()
    grid(images, cfg.columns, cfg.scale).save(folder / "grid.png")
    if cfg.singles:
        digits = len(str(cfg.count - 1))
        for number, image in enumerate(images):
            to_picture(image).save(folder / f"{number:0{digits}d}.png")
    print(f"{cfg.count} images of {run.directory.path} at {run.images_seen:,} images seen: {folder}/grid.png")


def main() -> None:
    run_command(sample)


if __name__ == "__main__":
    main()
