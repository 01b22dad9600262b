"""Implements ``gan_lab.sample``, with one module for each of its uses."""

from collections.abc import Callable, Mapping

from omegaconf import DictConfig

from gan_lab.runs.run import Run
from gan_lab.sampling.images import write_images
from gan_lab.sampling.mixing import write_mixed
from gan_lab.sampling.plane import write_plane
from gan_lab.sampling.projecting import write_latent, write_projection
from gan_lab.sampling.upscaling import upscale_files
from gan_lab.sampling.walking import write_walk

COMMANDS: Mapping[str, Callable[[Run, DictConfig], None]] = {
    "count": write_images,
    "input": upscale_files,
    "style_mixing": write_mixed,
    "walk": write_walk,
    "plane": write_plane,
    "project": write_projection,
    "latent": write_latent,
}
"""The function for each key that selects a use."""
