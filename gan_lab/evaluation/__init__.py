"""What ``gan_lab.evaluate`` does, one file for each thing it can be asked for."""

from collections.abc import Callable, Mapping

from omegaconf import DictConfig

from gan_lab.evaluation.compare import compare
from gan_lab.evaluation.fit_features import fit_features
from gan_lab.evaluation.folders import evaluate_folders
from gan_lab.evaluation.full_reference import evaluate_full_reference
from gan_lab.evaluation.runs import evaluate_run


def evaluate_images(cfg: DictConfig) -> None:
    """Of folders: as sets, or picture by picture."""
    if cfg.reals is None:
        raise ValueError("fakes=... are compared with reals=...: give a folder, a zip or an array of real images too")
    (evaluate_full_reference if cfg.evaluation.pairs else evaluate_folders)(cfg)


COMMANDS: Mapping[str, Callable[[DictConfig], None]] = {
    "run": evaluate_run,
    "fakes": evaluate_images,
    "compare": compare,
    "fit_features": fit_features,
}
"""By the key that asks for it."""
