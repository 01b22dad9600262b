"""Constraints of a sweep: upper bounds that the best trial must not exceed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from helpers import SMALL, run_module
from sweep_helpers import record, sweep

from gan_lab.sweeps.constraints import DIVERGED, VIOLATIONS, Constraints

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::DeprecationWarning")


def summary(**metrics: float) -> dict[str, Any]:
    return {"score": "fid", "final": {"fid": 7.0}, **metrics}


def test_violations_are_those_of_the_mean_over_the_runs() -> None:
    constraints = Constraints({"peak_memory_mib": 100, "score": 10})
    runs = [summary(peak_memory_mib=80), summary(peak_memory_mib=140)]
    assert constraints.violations(runs) == [10.0, -3.0]
    assert constraints.violations([*runs, None]) == [DIVERGED, DIVERGED]
    assert Constraints({}).violations(runs) == []


@pytest.mark.parametrize("bound", ["constraints.fid=3", "constraints.images=3"])
def test_what_a_run_does_not_measure_is_refused(bound: str, tmp_path: Path) -> None:
    done = run_module("train", "-m", *SMALL, "sweep=quality", bound, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(
        f"error: {bound}: not measured by this run; choose from epoch_seconds"
    )
    assert not (tmp_path / "multirun").exists()


@pytest.mark.parametrize(
    "given", [["constraints.seconds=3"], ["constraints={seconds: 3}"], ["-m", "seed=1,2", "constraints.seconds=3"]]
)
def test_constraints_without_a_sweep_are_refused(given: list[str], tmp_path: Path) -> None:
    done = run_module("train", *SMALL, *given, cwd=tmp_path)
    assert done.returncode == 1 and f"{given[-1]}: has no effect without a sweep" in done.stderr


def test_the_best_trial_is_the_best_of_those_that_keep_to_the_constraint(tmp_path: Path) -> None:
    space = ["optimizer.generator.lr=1e-3", "optimizer.discriminator.lr=1e-3", "loss=hinge", "batch_size=choice(8,16)"]
    search = ["hydra/sweeper/sampler=nsgaii", "study.trials=3", "constraints.epoch_seconds=1e6", *space]
    sweep(*search, cwd=tmp_path)
    study = record(tmp_path)
    assert study["constraints"] == {"epoch_seconds": 1e6}
    table = (tmp_path / "multirun" / "quality" / "study.md").read_text()
    assert "- within the constraint of s/epoch at most 1e+06: 3 of 3 finished configurations" in table
    assert "best score: " in table
    trials = optuna.load_study(study_name="quality", storage=f"sqlite:///{tmp_path}/multirun/quality/study.db").trials
    for trial in trials:
        assert len(trial.user_attrs[VIOLATIONS]) == 1 and trial.user_attrs[VIOLATIONS][0] < 0
        seen_by_sampler = trial.system_attrs.get("constraints") or trial.system_attrs["nsga2:constraints"]  # Optuna 5 or 2
        assert list(seen_by_sampler) == trial.user_attrs[VIOLATIONS]
    other = run_module(
        "train",
        "-m",
        *SMALL,
        "sweep=quality",
        "batch_size=16",
        "penalty=none",
        *search,
        "constraints.epoch_seconds=1",
        cwd=tmp_path,
    )
    assert other.returncode == 1 and "was started with constraints.epoch_seconds=1000000.0, not 1.0" in other.stderr
