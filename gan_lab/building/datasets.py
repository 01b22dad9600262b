"""The data set a configuration names."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.utils.terminal import progress_bar


def build_dataset(cfg: DictConfig, **changed: Any) -> DatasetBuilder:
    """The data set, not yet loaded; some of its arguments exchanged."""
    source: DatasetBuilder = instantiate(cfg.dataset, "dataset", **changed)
    return source


def load_dataset(source: DatasetBuilder) -> ImageDataset:
    """Its images, prepared if need be."""
    with progress_bar(f"preparing {source.name}", "images") as progress:
        return source.load(progress)
