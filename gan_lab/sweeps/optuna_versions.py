"""What differs between Optuna 2.10 and Optuna 5; all else is written for both."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna import importance
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState

_HAS_FANOVA = int(optuna.__version__.partition(".")[0]) >= 3
"""Whether Optuna's fANOVA works: that of Optuna 2 doesn't with NumPy 2.4."""


def end_trial(storage: RDBStorage, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> None:
    """End a running trial.

    Args:
        storage: of its study.
        trial_id: of the trial in the storage.
        state: in which it ends.
        values: its objectives, for a complete trial.

    Raises:
        RuntimeError: the trial has ended.
    """
    if hasattr(storage, "set_trial_state_values"):
        storage.set_trial_state_values(trial_id, state, values)
        return
    if values is not None:  # Optuna 2
        storage.set_trial_values(trial_id, values)
    storage.set_trial_state(trial_id, state)


def importance_evaluator() -> tuple[str, Any]:
    """How the importance of parameters is measured: its name in words, and Optuna's object for it."""
    if _HAS_FANOVA:
        return "fANOVA (part of the variance)", importance.FanovaImportanceEvaluator(seed=0)
    return "mean decrease in impurity of a random forest", importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)


def wilcoxon_pruner(p_threshold: float, min_seeds: int) -> BasePruner:
    """Optuna's ``WilcoxonPruner``.

    Args:
        p_threshold: see there.
        min_seeds: its ``n_startup_steps``.

    Raises:
        ValueError: this version of Optuna has none.
    """
    pruner = getattr(optuna.pruners, "WilcoxonPruner", None)
    if pruner is None:
        raise ValueError(
            f"pruner=wilcoxon: needs Optuna 4.9 or later, not {optuna.__version__}; pip install 'gan_lab[next]' installs one"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExperimentalWarning
        made: BasePruner = pruner(p_threshold=p_threshold, n_startup_steps=min_seeds)
    return made


def attach_picture(trial: Trial, picture: Path, folder: Path) -> None:
    """Copy a picture to a folder of artifacts, from which optuna-dashboard shows it with the trial.

    Nothing happens with Optuna 2, which has no artifacts.

    Args:
        trial: the running trial.
        picture: the file.
        folder: created if it does not exist.
    """
    try:
        artifacts = importlib.import_module("optuna.artifacts")
    except ModuleNotFoundError:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExperimentalWarning
        store = artifacts.FileSystemArtifactStore(folder)
        artifacts.upload_artifact(artifact_store=store, file_path=str(picture), study_or_trial=trial)
