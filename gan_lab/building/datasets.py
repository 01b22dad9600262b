"""The data set a configuration names."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.data.datasets import Source
from gan_lab.data.image_dataset import ImageSet
from gan_lab.utils.terminal import progress_of


def build_source(cfg: DictConfig, **changed: Any) -> Source:
    """The data set, not yet loaded; some of its arguments exchanged."""
    source: Source = instantiate(cfg.dataset, "dataset", **changed)
    return source


def load_data(source: Source) -> ImageSet:
    """Its images, prepared if need be."""
    with progress_of(f"preparing {source.name}", "images") as progress:
        return source.load(progress)
