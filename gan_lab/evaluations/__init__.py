"""What ``gan_lab.evaluate`` does, one file for each thing it can be asked for."""

from collections.abc import Callable, Mapping

from omegaconf import DictConfig

from gan_lab.evaluations.comparison import compare
from gan_lab.evaluations.fitting import fit_features
from gan_lab.evaluations.of_folders import evaluate_folders
from gan_lab.evaluations.of_run import evaluate_run

COMMANDS: Mapping[str, Callable[[DictConfig], None]] = {
    "run": evaluate_run,
    "fakes": evaluate_folders,
    "compare": compare,
    "fit_features": fit_features,
}
"""By the key that asks for it."""
