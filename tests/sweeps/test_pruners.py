"""The options of ``conf/pruner/`` end the trials that they say they end."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from helpers import compose_config

from gan_lab.config import instantiate
from gan_lab.studies.multirun import SweepTrial
from gan_lab.sweeps.constraints import Constraints
from gan_lab.sweeps.objective import Objective
from gan_lab.sweeps.optuna_study import OptunaStudy, StudyDefinition
from gan_lab.sweeps.optuna_trial import open_trial
from gan_lab.sweeps.pruners import SeedPruner
from gan_lab.sweeps.study_storage import StudyStorage

HAS_WILCOXON = hasattr(optuna.pruners, "WilcoxonPruner")
with_wilcoxon = pytest.mark.skipif(not HAS_WILCOXON, reason="Optuna 2 has no Wilcoxon pruner")


def build(*overrides: str) -> optuna.pruners.BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's ExperimentalWarning
        return instantiate(compose_config(*overrides).pruner, "pruner")


def steps_of(study: optuna.Study, values: Sequence[float], step: int = 1) -> int:
    """Number of values that a trial reports before it is pruned."""
    trial = study.ask()
    for number, value in enumerate(values, start=1):
        trial.report(value, number * step)
        if trial.should_prune():
            break
    study.tell(trial, value)
    return number


def signed_rank_p(differences: Sequence[float]) -> float:
    """One-sided p of Wilcoxon's test, by counting all signs; differences are distinct and not 0."""
    sizes = sorted(map(abs, differences))
    ranks = [sizes.index(abs(d)) + 1 for d in differences]
    observed = sum(rank for rank, d in zip(ranks, differences, strict=True) if d > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product([0, 1], repeat=len(ranks))]
    return sum(value >= observed for value in sums) / len(sums)


@pytest.mark.parametrize("name", ["halving", "hyperband"])
def test_successive_halvings_prune_bad_trials_and_not_the_best(name: str) -> None:
    study = optuna.create_study(study_name="s", pruner=build(f"pruner={name}", "pruner.min_resource=1"))
    rungs = 9
    assert steps_of(study, [10.0] * rungs) == rungs
    worse = [steps_of(study, [20.0 + n] * rungs) for n in range(12)]
    assert min(worse) < rungs
    if name == "hyperband":
        assert len(set(worse)) > 1, "some of its halvings prune later than others"
    assert steps_of(study, [1.0] * rungs) == rungs


@with_wilcoxon
@pytest.mark.parametrize(
    "differences", [[1, 2, 3, 4, 5, 6], [1, 2, -0.5, 4, 5, 6, 7], [-1, -2, -3, -4, -5, -6], [3, -1, 2, -4, 5, 6]]
)
@pytest.mark.parametrize("threshold", [0.1, 0.2])
def test_seeds_are_left_out_once_the_signed_rank_test_tells_trials_apart(differences: list[float], threshold: float) -> None:
    study = optuna.create_study(pruner=build("pruner=wilcoxon", f"pruner.p_threshold={threshold}"))
    assert steps_of(study, [10.0] * len(differences)) == len(differences)
    seeds = range(2, len(differences) + 1)
    expected = next((n for n in seeds if signed_rank_p(differences[:n]) < threshold), len(differences))
    assert steps_of(study, [10 + difference for difference in differences]) == expected


@with_wilcoxon
@pytest.mark.parametrize(("seeds", "needed"), [(1, 4), (4, 4)])
def test_too_few_seeds_to_leave_any_out_are_refused(seeds: int, needed: int) -> None:
    pruner = build("pruner=wilcoxon")
    assert isinstance(pruner, SeedPruner)
    with pytest.raises(ValueError, match=f"needs {needed} to tell two trials apart .* use at least seeds={needed + 1}"):
        pruner.check_seeds(seeds)
    pruner.check_seeds(needed + 1)


@with_wilcoxon
def test_a_job_trains_no_further_seed_of_a_worse_trial(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    OptunaStudy("s", url, 2, 60, StudyDefinition(["score"], {"x": "interval(0,1)"}, {}), {})
    sweeper = optuna.load_study(study_name="s", storage=StudyStorage(url, 2, 60))
    pruner = build("pruner=wilcoxon")
    ends = []
    for number, offset in enumerate([0.0, 0.1]):
        asked = sweeper.ask()
        trial = SweepTrial(open_trial(url, "s", number, 2, 60, pruner), "seeds", tmp_path, Constraints({}))
        summaries = [{"score": "fd", "final": {"fd": 10 + offset * (seed + 1)}} for seed in range(6)]
        ends.append([trial.ends_after(seed, summary, Objective("score")) for seed, summary in enumerate(summaries)])
        sweeper.tell(asked, 10 + offset)
    assert ends == [[False] * 6, [False, False, False, True, True, True]], "p < 0.1 from the fourth seed on"


@pytest.mark.skipif(HAS_WILCOXON, reason="this version of Optuna has a Wilcoxon pruner")
def test_wilcoxon_names_the_version_that_it_needs() -> None:
    with pytest.raises(ValueError, match=r"needs Optuna 4\.9 or later, not 2\."):
        build("pruner=wilcoxon")
