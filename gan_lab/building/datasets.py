"""Builds and loads the configured dataset."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.utils.terminal import progress_bar


def build_dataset(cfg: DictConfig, **changed: Any) -> DatasetBuilder:
    """The dataset of ``cfg.dataset``, not yet loaded; ``changed`` replaces some of its arguments."""
    builder: DatasetBuilder = instantiate(cfg.dataset, "dataset", **changed)
    return builder


def load_dataset(builder: DatasetBuilder) -> ImageDataset:
    """Load a dataset's images. They are packed into one file first if needed, with a progress bar."""
    with progress_bar(f"preparing {builder.name}", "images") as progress:
        return builder.load(progress)
