"""Pruners of our own. They, and Optuna's, are the options of ``conf/pruner/``."""

from __future__ import annotations

import math

from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from gan_lab.sweeps.optuna_versions import wilcoxon_pruner


class SeedPruner(BasePruner):
    """Leaves out the remaining seeds of a trial that is worse than the best trial over the same seeds.

    After each seed the scores of both trials are compared in pairs by Wilcoxon's signed-rank test. The objective is then the
    mean over the seeds that were trained. Other pruners compare scores during the training of the first seed.

    Args:
        p_threshold: the trial ends if the test gives a smaller p, in (0, 1).
        min_seeds: seeds that every trial trains, at least 2.

    Raises:
        ValueError: this version of Optuna has no such test, or an argument is out of its range.
    """

    def __init__(self, p_threshold: float, min_seeds: int) -> None:
        if not 0 < p_threshold < 1:
            raise ValueError(f"pruner.p_threshold={p_threshold}: must lie between 0 and 1")
        if min_seeds < 2:
            raise ValueError(f"pruner.min_seeds={min_seeds}: must be at least 2")
        self._pruner = wilcoxon_pruner(p_threshold, min_seeds)
        self._p_threshold = p_threshold
        self._min_seeds = min_seeds

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self._pruner.prune(study, trial)

    def check_seeds(self, seeds: int) -> None:
        """Check that some seeds of a trial can be left out.

        Args:
            seeds: of each trial.

        Raises:
            ValueError: they can't: the smallest p of n seeds is ``2^-n``.
        """
        needed = max(self._min_seeds, math.floor(-math.log2(self._p_threshold)) + 1)
        if seeds <= needed:
            raise ValueError(
                f"pruner=wilcoxon: compares seeds and needs {needed} to tell two trials apart (p < {self._p_threshold}), so "
                f"seeds={seeds} leaves none out; use at least seeds={needed + 1}, or pruner=median"
            )
