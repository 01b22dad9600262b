"""Teaching a classifier the labels of a data set, for the sake of its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from gan_lab.building.datasets import build_dataset, load_dataset
from gan_lab.config import instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.metrics.networks.classifier import Classifier, DatasetClassifier
from gan_lab.metrics.networks.fit import Recipe, fit
from gan_lab.runtime.device import choose_device
from gan_lab.utils.terminal import STDOUT, progress_bar


def fit_features(cfg: DictConfig) -> None:
    """Fit, and keep the classifier where ``evaluation.features=dataset_classifier`` looks for it."""
    recipe: Recipe = instantiate(cfg.fit.recipe, "fit.recipe")
    source = build_dataset(cfg)
    train, held_out, name = _parts(cfg, source)
    domain = FeatureDomain(source.domain, train.shape[0], train.shape[1])
    places: DatasetClassifier = instantiate(cfg.features.dataset_classifier, "features.dataset_classifier")
    path = Path(cfg.fit.file).expanduser() if cfg.fit.file else places.path_for(domain)
    if path.exists() and not cfg.fit.overwrite:
        raise ValueError(
            f"{path} is there already, and scores were taken in its features: fit.overwrite=true replaces it, fit.file=... "
            "makes another"
        )
    parts = [key for key in ("classes", "attributes", "limit") if cfg.dataset[key] is not None]
    if parts and not cfg.fit.file:
        raise ValueError(
            f"dataset.{parts[0]}: what has learnt a part would be taken for the whole data set's; give it a fit.file=... of "
            "its own"
        )
    with progress_bar("fitting", "images") as progress:
        network = fit(
            train,
            held_out,
            name,
            cfg.fit.name or source.domain,
            cfg.fit.domains or [source.domain],
            recipe,
            cfg.seed,
            choose_device(cfg.device),
            progress,
        )
    network.save(path)
    network = Classifier.load(path)  # as it is kept
    known = network.metadata
    STDOUT.print(
        f"{path}: {known.accuracy:.2%} of {known.held_out} right, {known.images:,} learnt from; "
        f"{path.stat().st_size / 2**20:.2f} MiB, features {network.fingerprint}; scores in them: {network.score('fd')}"
    )


def _parts(cfg: DictConfig, source: DatasetBuilder) -> tuple[ImageDataset, ImageDataset, str]:
    """Images to learn from, others to be asked about, and what those are called."""
    if source.split == "train" and "test" in source.splits:
        test = load_dataset(instantiate(cfg.dataset, "dataset", split="test"))
        return load_dataset(source), test, f"{len(test):,} test images"
    data, share = load_dataset(source), cfg.fit.held_out
    count = round(share * len(data))
    if not 0 < share < 1 or count < 1 or count == len(data):
        raise ValueError(f"fit.held_out={share}: of {len(data):,} images it must leave some on both sides")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(cfg.seed)).numpy()
    return data.subset(np.sort(order[count:])), data.subset(np.sort(order[:count])), f"{count:,} held-out images"
