"""Comparison of runs: grouping by configuration, paired differences, the Pareto front, the table and the page."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from helpers import SMALL, run_module
from scipy import stats

from gan_lab.reporting import study_table
from gan_lab.reporting.configurations import group_by_configuration, pareto_front
from gan_lab.reporting.run_records import RunRecord, run_metrics, split_overrides
from gan_lab.reporting.significance import between, describe_difference, paired_t_interval, same_protocol
from gan_lab.reporting.study_page import StudyReport, conclusions
from gan_lab.reporting.study_plots import parallel_coordinates, pareto_plot
from gan_lab.storage.run_directory import RunDirectory


def record(name: str, seed: int = 0, trial: int | None = None, **metrics: Any) -> RunRecord:
    defaults = {
        "status": "finished",
        "score_name": "fd_x",
        "score": 1.0,
        "protocols": {"default": {"fakes": 10}},
        "epoch_seconds": 1.0,
    }
    return RunRecord(split_overrides(name), seed, trial, {"name": name, "seed": seed, **defaults, **metrics})


def test_commas_inside_brackets_and_quotes_do_not_separate_overrides() -> None:
    name = "optimizer=adam,loss=[bce,feature_matching],optimizer.betas=[0.5,0.9],dataset.path='a,b',+model.x={a:1,b:2}"
    assert split_overrides(name) == {
        "optimizer": "adam",
        "loss": "[bce,feature_matching]",
        "optimizer.betas": "[0.5,0.9]",
        "dataset.path": "'a,b'",
        "model.x": "{a:1,b:2}",
    }
    assert split_overrides("default") == {}


def test_configurations_are_labeled_by_the_overrides_in_which_they_differ() -> None:
    found = group_by_configuration([record(f"debug=tiny,experiment={name}", seed) for name in ("a", "b") for seed in (0, 1)])
    assert [(g.label, len(g.records)) for g in found] == [("a", 2), ("b", 2)]
    rates = group_by_configuration(
        [
            record(f"optimizer.generator.lr={g},optimizer.discriminator.lr=1,loss={o}")
            for g, o in ((0.000123456, "bce"), (2, "x"))
        ]
    )
    assert [g.label for g in rates] == ["lr=0.000123, loss=bce", "lr=2, loss=x"]
    both = group_by_configuration(
        [record(f"optimizer.generator.lr={n},optimizer.discriminator.lr={n}", trial=n) for n in (1, 2)]
    )
    assert [(g.label, g.title) for g in both] == [
        ("trial 1", "trial 1 (generator.lr=1, discriminator.lr=1)"),
        ("trial 2", "trial 2 (generator.lr=2, discriminator.lr=2)"),
    ]
    assert [g.label for g in group_by_configuration([record("optimizer=adam")])] == ["default"]
    twice = group_by_configuration([record("a=1,a.b=1"), record("a=2,a.b=2")])
    assert [g.choices for g in twice] == [{"a": "1", "b": "1"}, {"a": "2", "b": "2"}]


def test_the_paired_interval_equals_scipys_paired_t_test() -> None:
    before, after = [10.0, 12.0, 9.0, 11.0], [11.0, 13.5, 9.5, 13.0]
    found = paired_t_interval(before, after)
    reference = stats.ttest_rel(after, before)
    low, high = reference.confidence_interval(0.95)
    assert math.isclose(found.mean, 1.25) and found.seeds == 4 and found.is_significant
    assert found.low is not None and found.high is not None
    assert math.isclose(found.low, low) and math.isclose(found.high, high)
    assert found.is_significant == (reference.pvalue < 0.05)
    assert not paired_t_interval([1.0, 2.0, 3.0], [2.0, 1.0, 3.1]).is_significant
    single = paired_t_interval([1.0], [3.0])
    assert (single.mean, single.low, single.is_significant) == (2.0, None, False)
    same = paired_t_interval([1.0, 2.0], [2.0, 3.0])
    assert same.low == same.high == 1.0


def test_only_common_seeds_are_compared() -> None:
    one, other = group_by_configuration(
        [*(record("o=a", s, score=float(s)) for s in (0, 1, 2)), *(record("o=b", s, score=s + 1.5) for s in (1, 2, 3))]
    )
    found = between(one, other, "score")
    assert found is not None and found.seeds == 2 and found.mean == 1.5
    assert between(one, group_by_configuration([record("o=c", 9), record("o=d", 0)])[0], "score") is None


def test_a_significant_difference_in_words() -> None:
    seconds, scores = ([10.0, 11.0, 9.5], [20.0, 21.0, 22.0]), ([11.1, 12.2, 10.5], [27.0, 28.5, 29.0])
    runs = [
        record(f"optimizer={name}", seed, score=scores_[seed], epoch_seconds=seconds_[seed])
        for name, (seconds_, scores_) in (("adam", seconds), ("rmsprop", scores))
        for seed in range(3)
    ]
    adam, rmsprop = group_by_configuration(runs)
    assert describe_difference(adam, rmsprop) == (
        "optimizer=rmsprop compared with optimizer=adam: s/epoch +10.8 % [+8.4, +13.3] (slower), "
        "fd_x +7.17 [+6.45, +7.88] (worse); 95 % confidence intervals over 3 paired seeds"
    )
    assert describe_difference(rmsprop, adam) == (
        "optimizer=adam compared with optimizer=rmsprop: s/epoch -9.8 % [-12.0, -7.6] (faster), "
        "fd_x -7.17 [-7.88, -6.45] (better); 95 % confidence intervals over 3 paired seeds"
    )


def test_an_insignificant_difference_and_one_seed_in_words() -> None:
    even, odd = group_by_configuration(
        [record(f"o={n}", s, score=1.0 + n * (s - 1), epoch_seconds=1.0 + 0.1 * n * (s - 1)) for n in (0, 1) for s in range(3)]
    )
    sentence = describe_difference(even, odd, "trial 0")
    assert sentence.startswith(
        "o=1 compared with trial 0: s/epoch +0 % [-25, +25] (no significant difference), fd_x +0.0 [-2.5"
    )
    one, other = group_by_configuration(
        [record("o=a", score=5.0, score_ci95=0.3), record("o=b", score=4.0, score_ci95=0.4, epoch_seconds=2.0)]
    )
    assert describe_difference(one, other) == (
        "o=b compared with o=a: s/epoch +100 % (slower), "
        "fd_x -1.00 ± 0.50 (better; ± is the error from the choice of latents); one seed"
    )


def test_scores_of_different_protocols_are_not_compared() -> None:
    runs = [record("o=a", 0), record("o=b", 0, protocols={"default": {"fakes": 20}}, score=9.0)]
    one, other = group_by_configuration(runs)
    assert not same_protocol([one, other])
    assert "fd_x" not in describe_difference(one, other)
    by_seed = [record(f"o={o}", s, protocols={"default": {"reals_hash": s}}) for o in "ab" for s in (0, 1)]
    assert same_protocol(group_by_configuration(by_seed)), (
        "dataset.limit selects other images for each seed, but the same ones in both configurations"
    )


def test_the_pareto_front_has_no_dominated_configurations() -> None:
    points = {"a": (1.0, 9.0), "b": (2.0, 5.0), "c": (2.0, 6.0), "d": (5.0, 1.0), "e": (6.0, 1.0), "f": (2.0, 5.0)}
    groups = group_by_configuration([record(f"o={name}", score=x, epoch_seconds=y) for name, (x, y) in points.items()])
    groups += group_by_configuration([record("o=g", score=None, epoch_seconds=0.1), record("o=h", score=math.nan)])
    assert [g.label for g in pareto_front(groups, "score", "epoch_seconds")] == ["o=a", "o=b", "o=f", "o=d"]


def test_the_best_score_is_not_that_of_the_fastest_configuration(tmp_path: Path) -> None:
    groups = group_by_configuration(
        [record("o=a", score=1.0, epoch_seconds=2.0, score_ci95=0.1), record("o=b", score=3.0, epoch_seconds=1.0)]
    )
    study = StudyReport(tmp_path, groups, {"objective": ["epoch_seconds"], "has_default": False}, None)
    assert study.best is groups[1]
    assert conclusions(study) == ["best score: o=a, fd_x 1.00 ± 0.10", "fastest: o=b, s/epoch 1"]


def test_columns_without_values_are_left_out_of_the_table() -> None:
    titles, cells = study_table.rows(group_by_configuration([record("o=a", d_loss=1.25), record("o=b", d_loss=2.0)]))
    assert titles == ["run", "fd_x", "s/epoch", "D loss"] and cells == [["o=a", "1", "1", "1.25"], ["o=b", "1", "1", "2"]]
    titles, cells = study_table.rows(
        group_by_configuration([record("o=a|b", trial=0, status="pruned"), record("o=c", trial=1)])
    )
    assert titles == ["run", "status", "fd_x", "s/epoch", "o"] and [row[1] for row in cells] == ["pruned", "finished"]
    assert "a\\|b" in study_table.markdown(group_by_configuration([record("o=a|b", trial=0), record("o=c", trial=1)]))


def test_the_metrics_of_a_run_come_from_its_files(finished: RunDirectory) -> None:
    metrics, summary = run_metrics(finished), finished.read_summary()
    assert metrics["score"] == summary["final"]["fd_fashion"] and metrics["score_name"] == "fd_fashion"
    assert metrics["status"] == "finished" and metrics["seed"] == 0 and metrics["trial"] is None
    last = [row["d/loss"] for row in finished.history() if row["epoch"] > 1.0 and row.get("d/loss") is not None]
    assert last and math.isclose(metrics["d_loss"], sum(last) / len(last))


@pytest.mark.slow
def test_a_multirun_writes_a_page_that_compares_its_runs(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SMALL, "optimizer=adam,rmsprop", "seeds=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.glob("multirun/*/*")
    runs = [RunDirectory(folder / str(n)).read_summary() for n in range(4)]
    assert [run["status"] for run in runs] == ["finished"] * 4
    endings = [f"optimizer={name},seed={seed}" for name in ("adam", "rmsprop") for seed in (0, 1)]
    assert all(run["name"].endswith(ending) for run, ending in zip(runs, endings, strict=True))
    assert "optimizer=rmsprop compared with optimizer=adam: s/epoch " in done.stdout and "2 paired seeds" in done.stdout
    assert {"study.html", "study.csv", "study.md"} <= {path.name for path in folder.iterdir()}
    other = run_module("report", "study=latest", "baseline=optimizer=rmsprop", cwd=tmp_path)
    assert other.returncode == 0 and "optimizer=adam compared with optimizer=rmsprop: " in other.stdout, other.stderr
    for arguments, message in (
        (["study=latest", "baseline=sgd"], "baseline=sgd: must be one of optimizer=adam; optimizer=rmsprop"),
        (["run=latest", "baseline=sgd"], "baseline=sgd: has no effect with run="),
        ([f"study={folder / '0'}"], "is a single run; give run="),
        (["study=nowhere"], "study=nowhere: does not exist; give the folder of a multirun"),
        ([], "give one of run=outputs/..., for the page of a run, study=multirun/..."),
    ):
        refused = run_module("report", *arguments, cwd=tmp_path)
        assert refused.returncode == 1 and message in refused.stderr and "Traceback" not in refused.stderr


def test_dollar_signs_of_a_name_are_no_formula() -> None:
    trials = [{"params": {"dataset.path": f"$HOME/{n}_$x$\\\\"}, "values": [float(n)]} for n in range(2)]
    parallel_coordinates(trials, ["score"]).savefig(io.BytesIO())
    groups = group_by_configuration([record(f"dataset.classes=[$a{n}$\\\\frac]", score=1.0 + n) for n in range(2)])
    pareto_plot(groups, groups, "epoch_seconds", "score").savefig(io.BytesIO())
