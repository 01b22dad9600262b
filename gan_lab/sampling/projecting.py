"""Searches the latent of a picture, and makes the images of latents found so."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.metrics.perceptual_networks import PerceptualNetwork
from gan_lab.runs.projection import ProjectionOptions, load_found, project, read_target
from gan_lab.runs.run import Run
from gan_lab.sampling.output import classes_of, output_file, show
from gan_lab.utils.image_ops import image_grid, to_pil
from gan_lab.utils.terminal import progress_bar

LATENT = "latent.safetensors"
"""Name of the file that ``latent=`` takes."""


def write_projection(run: Run, cfg: DictConfig) -> None:
    """Write the image nearest to ``cfg.project``, a comparison of both, and its latent.

    Raises:
        ValueError: the picture can't be read, a number is out of range, or the folder holds files.
    """
    source = Path(cfg.project).expanduser()
    folder = Path(cfg.out).expanduser() if cfg.out else run.directory.samples / f"project-{source.stem}"
    if folder.exists() and any(folder.iterdir()) and not cfg.overwrite:
        raise ValueError(f"{folder} already holds files: choose another out=, or overwrite=true")
    target = read_target(source, run)
    options = ProjectionOptions(**cfg.projection, seed=cfg.seed, classes=classes_of(cfg))
    network: PerceptualNetwork = instantiate(cfg.perception, "perception")
    with progress_bar(f"projecting {source.name}", "steps") as progress:
        found = project(run, target, network, options, progress)
    image = run.render(found.styles, found.labels)[0]
    folder.mkdir(parents=True, exist_ok=True)
    to_pil(image).save(folder / "found.png")
    comparison = image_grid(torch.stack([target, image]), 2, cfg.scale, column_names=("picture", "found"))
    comparison.save(folder / "comparison.png")
    show(comparison, image.shape[-1], cfg)
    found.save(folder / LATENT)
    error = float((image.float() - target).abs().mean()) / 255
    print(
        f"distance {found.distance:.3g} (of the best of {options.candidates} random latents {found.start:.3g}), mean error of "
        f"a pixel {error:.1%}: {folder / 'comparison.png'}, {folder / LATENT}"
    )


def write_latent(run: Run, cfg: DictConfig) -> None:
    """Write the image of a latent that :func:`write_projection` found.

    Raises:
        ValueError: the latent belongs to another generator, or the file exists.
    """
    path = Path(cfg.latent).expanduser()
    out = output_file(cfg, path.with_suffix(".png"))
    styles, labels = load_found(path, run)
    if cfg.truncation is not None:
        run.check_truncation(cfg.truncation)
        if not run.generator.truncates_styles:
            raise ValueError(f"truncation={cfg.truncation}: bounds random latents; leave it out with latent=")
        styles = run.generator.truncate(styles, cfg.truncation)
    out.parent.mkdir(parents=True, exist_ok=True)
    to_pil(run.render(styles, labels)[0]).save(out)
    print(out)
