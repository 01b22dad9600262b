"""Implements ``gan_lab.evaluate``, with one module for each of its uses."""

from collections.abc import Callable, Mapping

from omegaconf import DictConfig

from gan_lab.evaluation.compare import compare
from gan_lab.evaluation.fit_features import fit_features
from gan_lab.evaluation.folders import evaluate_folders
from gan_lab.evaluation.full_reference import evaluate_full_reference
from gan_lab.evaluation.runs import evaluate_run


def evaluate_images(cfg: DictConfig) -> None:
    """Score images in files: as sets, or with ``evaluation=pairs`` each image against its original."""
    if cfg.reals is None:
        raise ValueError("fakes=... needs reals=...: a folder, zip or array of real images to compare with")
    (evaluate_full_reference if cfg.evaluation.pairs else evaluate_folders)(cfg)


COMMANDS: Mapping[str, Callable[[DictConfig], None]] = {
    "run": evaluate_run,
    "fakes": evaluate_images,
    "compare": compare,
    "fit_features": fit_features,
}
"""The function for each key that selects a use."""
