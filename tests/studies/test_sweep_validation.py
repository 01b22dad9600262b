"""Errors in the command line of a multirun or a sweep are reported before the first run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import SMALL, every_nth, run_module
from hydra.errors import HydraException
from sweep_helpers import SWEEP

from gan_lab.config.multirun_spec import read_multirun
from gan_lab.studies.multirun import Multirun

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("arguments", "message"),
    every_nth(
        [
            (["optimizer.genrator.lr=interval(1e-4,1e-3)"], "Key 'genrator' is not in struct"),
            (["loss=choice(bce,hinje)"], "Could not find 'loss/hinje'"),
            (["batch_size=choice(16,0)"], "batch_size=0: must be a whole number, at least 1"),
            (
                ["study.storage=postgresql://nobody@127.0.0.1:1/none"],
                "study.storage=postgresql://nobody@127.0.0.1:1/none can't be reached",
            ),
            (["study.storage=mysql+nodriver://host/db"], "study.storage=mysql+nodriver://host/db"),
            (["study.storage=nonsense"], "study.storage=nonsense"),
            (["study.name=../elsewhere"], "study.name=../elsewhere: must consist of letters"),
            (["objective=fid"], "objective=fid: not measured by this run; choose from"),
            (["evaluation=none"], "objective=score: not measured by this run"),
            (["objective=3"], "objective=3: must be the name of a metric"),
            (["objective=[]"], "objective=[]: name what the sweep minimizes"),
            (["plan=true"], "plan=true: without -m it says what the whole sweep would cost"),
            (
                ["sweep=equal_images", "model=sngan"],
                "model.spectral_norm: is searched, but with these options there is no such key",
            ),
            (["hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs=0: must be at least 1"),
            (["objective=[score,epoch_seconds]"], "every objective is minimized, so hydra.sweeper.direction"),
            (
                ["objective=[score,seconds]", "hydra.sweeper.direction=[minimize,minimize]"],
                "pruner: needs a single objective, but there are 2",
            ),
            (["objective=epoch_seconds"], "pruner: needs a score as the objective"),
            (["hydra/sweeper/sampler=grid"], "a grid needs a list of values; use optimizer.generator.lr=choice(...)"),
            (["hydra.sweeper.n_trials=5"], "hydra.sweeper.n_trials: is set from study.trials; set that instead"),
            (["study.trials=0"], "study.trials=0: must be a whole number, at least 1"),
            (["loss=bce", "optimizer.generator.lr=1e-4", "optimizer.discriminator.lr=1e-4"], "there is nothing to search"),
        ],
        7,
    ),
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_an_invalid_sweep_is_refused_before_the_first_trial(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def never() -> None:
        raise AssertionError("Hydra must not start")

    with pytest.raises((ValueError, HydraException)) as error:
        Multirun(never).begin(["-m", *SWEEP, *arguments])
    assert message in f"{error.value}{error.value.__cause__}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["seeds=3"], ["seeds=1", "seed=0,1,2"]),
        (["seeds=3", "seed=5"], ["seeds=1", "seed=5,6,7"]),
        (["seed=5,6"], ["seed=5,6"]),
    ],
)
def test_seeds_count_up_from_the_seed(arguments: list[str], expected: list[str]) -> None:
    spec = read_multirun(["-m", *SMALL, *arguments])
    assert spec is not None and [argument for argument in spec.arguments if argument.startswith("seed")] == expected


def test_there_is_at_least_one_seed() -> None:
    with pytest.raises(ValueError, match="seeds=0: must be at least 1"):
        read_multirun(["-m", *SMALL, "seeds=0"])


@pytest.mark.slow
def test_an_error_that_no_searched_value_causes_does_not_name_them() -> None:
    with pytest.raises(ValueError, match=r"^study\.heartbeat=0: must be a whole number, at least 1"):
        read_multirun(["-m", *SWEEP, "study.heartbeat=0"])
    with pytest.raises(ValueError, match=r"^at .*batch_size=0: batch_size=0: must be a whole number, at least 1"):
        read_multirun(["-m", *SWEEP, "batch_size=choice(16,0)"])


def test_null_can_be_the_default_of_a_searched_key() -> None:
    rates = ["optimizer.generator.lr=1e-4", "optimizer.discriminator.lr=1e-4", "loss=bce"]
    spec = read_multirun(["-m", *SWEEP, *rates, "max_grad_norm=null,1.0"])
    assert spec is not None and spec.search is not None and spec.search.default == {"max_grad_norm": "null"}


def test_values_outside_the_search_space_are_named() -> None:
    spec = read_multirun(["-m", *SWEEP, "model.width=choice(16,24)", "loss=choice(bce,lsgan)"])
    assert spec is not None and spec.search is not None and spec.search.default == {}
    assert spec.search.outside == ["loss=hinge", "model.width=4"]


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [(["loss=bce,hinge"], 2), (["loss=bce,hinge", "seeds=3"], 6), (["loss=bce,hinge", "batch_size=8,16,32"], 6), ([], 1)],
)
def test_the_runs_of_a_multirun_are_counted(arguments: list[str], runs: int) -> None:
    spec = read_multirun(["-m", *SMALL, *arguments])
    assert spec is not None and spec.runs == runs


def test_an_unreachable_storage_is_reported_without_a_traceback_or_the_password(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SWEEP, "study.storage=postgresql://nobody:secret@127.0.0.1:1/none", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "study.storage=postgresql://nobody:***@127.0.0.1:1/none can't be reached" in done.stderr
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep=quality"], "sweep=quality needs several runs: add -m"),
        (["seeds=3"], "seeds=3 needs several runs: add -m"),
        (["seeds=3", "seed=1,2"], "seeds=3: can't be combined with seed=1,2"),
    ],
)
def test_options_for_several_runs_need_a_multirun(arguments: list[str], message: str, tmp_path: Path) -> None:
    multirun = ["-m"] if "add -m" not in message else []
    done = run_module("train", *multirun, *SMALL, *arguments, cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr
    assert not list(tmp_path.rglob("config.yaml"))
