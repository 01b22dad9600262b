"""Trains a classifier on the labels of a dataset, for use as a feature network."""

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
    """Train the classifier and store it where ``evaluation.features=dataset_classifier`` looks for it.

    Raises:
        ValueError: the file exists and ``fit.overwrite`` is false, or the dataset has no usable labels.
    """
    recipe: Recipe = instantiate(cfg.fit.recipe, "fit.recipe")
    source = build_dataset(cfg)
    train, held_out, held_out_name = _split(cfg, source)
    domain = FeatureDomain(source.domain, train.shape[0], train.shape[1])
    features: DatasetClassifier = instantiate(cfg.features.dataset_classifier, "features.dataset_classifier")
    path = Path(cfg.fit.file).expanduser() if cfg.fit.file else features.path_for(domain)
    if path.exists() and not cfg.fit.overwrite:
        raise ValueError(
            f"{path} exists, and scores may have been computed with it; fit.overwrite=true replaces it, fit.file=... writes "
            "another file"
        )
    subsets = [key for key in ("classes", "attributes", "limit") if cfg.dataset[key] is not None]
    if subsets and not cfg.fit.file:
        raise ValueError(
            f"dataset.{subsets[0]}: a classifier of part of the dataset must not be stored as that of the whole dataset; "
            "choose another file with fit.file=..."
        )
    with progress_bar("training the classifier", "images") as progress:
        network = fit(
            train,
            held_out,
            held_out_name,
            cfg.fit.name or source.domain,
            cfg.fit.domains or [source.domain],
            recipe,
            cfg.seed,
            choose_device(cfg.device),
            progress,
        )
    network.save(path)
    network = Classifier.load(path)  # in the half precision it is stored in
    metadata = network.metadata
    STDOUT.print(
        f"{path}: accuracy {metadata.accuracy:.2%} on {metadata.held_out}, trained on {metadata.images:,}; "
        f"{path.stat().st_size / 2**20:.2f} MiB, hash {network.fingerprint}; Frechet distance: {network.score('fd')}"
    )


def _split(cfg: DictConfig, source: DatasetBuilder) -> tuple[ImageDataset, ImageDataset, str]:
    """Training images, held-out images (the test split if there is one) and a description of the latter."""
    if source.split == "train" and "test" in source.splits:
        test = load_dataset(instantiate(cfg.dataset, "dataset", split="test"))
        return load_dataset(source), test, f"{len(test):,} test images"
    data, fraction = load_dataset(source), cfg.fit.held_out
    count = round(fraction * len(data))
    if not 0 < fraction < 1 or count < 1 or count == len(data):
        raise ValueError(
            f"fit.held_out={fraction}: must be a fraction in (0, 1) that leaves some of {len(data):,} images on both sides"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(cfg.seed)).numpy()
    return data.subset(np.sort(order[count:])), data.subset(np.sort(order[:count])), f"{count:,} held-out images"
