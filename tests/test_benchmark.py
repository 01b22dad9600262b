"""What is measured, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import SMALL, compose_config, run_module
from hydra import initialize_config_dir

from gan_lab.benchmarks import tuning
from gan_lab.benchmarks.quality import BOOK, OURS, QualityResult, in_slices
from gan_lab.benchmarks.step import StepResult, clock, happenings
from gan_lab.benchmarks.tuning import Trial, TuneResult
from gan_lab.benchmarks.tutorial import tutorial
from gan_lab.build import build_trainer
from gan_lab.config import CONF_DIR, Job, instantiate
from gan_lab.directory import RunDirectory
from gan_lab.training.events import At, Every

ONCE = ["kind.rounds=1", "kind.steps=1", "kind.warmup=1"]


def make(path: Path, *overrides: str) -> Job:
    cfg = compose_config(*SMALL, "console=plain", *overrides, config="benchmark")
    path.mkdir(exist_ok=True)
    return Job(cfg, {}, overrides, RunDirectory(path), "test", None, resumed=False)


def measure(path: Path, *overrides: str):
    job = make(path, *overrides)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return instantiate(job.cfg.kind, "kind")(job)


def test_shares_of_the_phases_add_up_and_follow_from_how_often_they_happen(tmp_path: Path) -> None:
    more = [
        "n_critic=2",
        "evaluation.every_kimg=0.032",
        "penalty=[gradient_penalty,r1]",
        "penalty.every=4",
        "kind.tutorial=false",
    ]
    result: StepResult = measure(tmp_path, *ONCE, *more[:2], "penalty=r1", "penalty.every=4", more[-1])
    assert set(result.times) == {
        *("data", "discriminator", "discriminator, lazy by 4", "generator", "average"),
        *("logging", "evaluation", "sampling", "checkpoint", "page"),
    }
    assert sum(map(result.share, result.times)) == pytest.approx(1)
    assert result.times["generator"] == 0.5 and result.times["discriminator, lazy by 4"] == 0.25
    assert result.times["evaluation"] == 2 / 4  # of 4 steps of 16 images
    assert result.per_step("evaluation") == result.median("evaluation") / 2
    written = json.loads(json.dumps(result.to_dict()))
    assert written["phases"].keys() == result.times.keys() and "arithmetic" in written["facts"]
    assert list(tmp_path.iterdir()) == []  # nothing of a run


def test_a_penalty_of_every_step_is_told_apart_and_the_tutorial_stands_beside(tmp_path: Path) -> None:
    result: StepResult = measure(tmp_path, *ONCE, "penalty=gradient_penalty", "model.norm=none")
    assert "penalty of the discriminator" in result.times and result.times["penalty of the discriminator"] == 1
    assert {"bare step", "whole loop", "tutorial loop"} <= set(result.seconds)
    assert list(result.ratios) == ["whole loop / bare step", "images/s of the whole loop / of the tutorial loop"]


def test_a_grown_and_conditional_step_can_be_measured(tmp_path: Path) -> None:
    result = measure(tmp_path, *ONCE, "model=progan_small", "conditioning=projection")
    assert {"bare step", "whole loop"} <= set(result.seconds) and "tutorial loop" not in result.seconds


@pytest.mark.parametrize(
    ("cadence", "expected"), [(Every(100), 10), (Every(300), 4), (Every(5000), 1), (At([100, 250, 1000]), 3), (At([]), 1)]
)
def test_events_happen_as_often_as_their_cadence_says_and_at_the_end(cadence: Every | At, expected: int) -> None:
    assert happenings(cadence, end=1000, batch_size=50) == expected


def test_durations_are_told_as_clocks() -> None:
    assert [clock(s) for s in (0.4, 61, 3600 * 27 + 59.6)] == ["0:00:00", "0:01:01", "27:01:00"]


def test_the_tutorials_process_trains_and_ends_whatever_happens(tmp_path: Path) -> None:
    trainer = build_trainer(make(tmp_path / "job"))
    before = {name: value.clone() for name, value in trainer.game.generator.state_dict().items()}
    with pytest.raises(RuntimeError, match="something else"), tutorial(trainer.game, trainer.stream.data, 8, tmp_path) as book:
        assert book.steps(2) > 0
        after = book.generator()
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[name], before[name]) for name in before)
        raise RuntimeError("something else")
    assert book._process.poll() == 0
    with pytest.raises((ValueError, OSError)):
        book.steps(1)


def test_errors_of_precisions_stand_in_their_order(tmp_path: Path) -> None:
    result = measure(tmp_path, *ONCE, "kind=precision")
    assert {"fp32", "bf16", "int16"} <= set(next(iter(result.errors.values())))
    assert any(name.startswith("g: gradient of") for name in result.errors) and "d: logit" in result.errors
    for errors in result.errors.values():
        assert errors["fp32"] < 1e-4 and errors["fp32"] < errors["int16"] < errors["bf16"]


def test_a_neighbour_is_measured(tmp_path: Path) -> None:
    result = measure(tmp_path, *ONCE, "kind=neighbour")
    assert list(result.seconds) == ["alone", "beside a busy process"]


def test_curves_are_trained_in_turn_and_compared_at_the_tutorials_end(tmp_path: Path) -> None:
    calls: list[str] = []

    def slices(name: str, count: int, scores: list[float]):
        values = iter(scores)

        def train(n: int) -> float | None:
            calls.append(name)
            return 2.0 if n < count else None

        return train, lambda: next(values)

    curves = in_slices({OURS: slices("a", 3, [100, 50, 20, 10]), BOOK: slices("b", 2, [100, 60, 30])})
    assert calls == ["a", "b", "a", "b", "a", "b", "a"]
    assert curves == {OURS: [(0, 100), (2, 50), (4, 20), (6, 10)], BOOK: [(0, 100), (2, 60), (4, 30)]}
    result = QualityResult("fd", curves, 2, tmp_path)
    assert result.reached() == 4 and "is there after 4 s, 1/1.0 of the time" in result.sentence()
    worse = QualityResult("fd", {**curves, OURS: curves[OURS][:2]}, 2, tmp_path)
    assert worse.reached() is None and "does not reach that in its 2 s: 50 at best" in worse.sentence()
    result.print()
    assert {path.name for path in tmp_path.iterdir()} == {"quality.png", "quality.svg"}


def test_quality_trains_both(tmp_path: Path) -> None:
    result = measure(tmp_path, "kind=quality", "kind.epochs=1", "kind.batch_size=32", "epochs=0.5")
    assert [len(curve) for curve in result.curves.values()] == [2, 2]
    assert result.curves[OURS][0][1] == pytest.approx(result.curves[BOOK][0][1], rel=1e-6)  # the same untrained generator


def test_tuning_writes_overrides_that_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "SPEED", [choice for choice in tuning.SPEED if choice[0] != "compile"])  # takes a minute
    result = tuning.tune(make(tmp_path), recipe=False, rounds=1, steps=1)
    assert [trial.choice for trial in result.trials] == ["memory_format=contiguous", "optimizer.fused=false"]  # BN mixes images
    result = tuning.tune(make(tmp_path, "model.norm=none"), recipe=True, rounds=1, steps=1)
    assert {"passes=separate", "reuse_fakes=false"} <= {trial.choice for trial in result.trials}
    kept = TuneResult(
        [Trial("compile=none", [1.5], True)], ["compile=none", "optimizer.fused=false"], tmp_path / "tuned.txt", ["epochs=1"]
    )
    kept.print()
    lines = (tmp_path / "tuned.txt").read_text().split()
    cfg = compose_config(*lines)
    assert (cfg.compile, cfg.optimizer.fused) == ("none", False)
    assert f"python -m gan_lab.train epochs=1 $(cat {tmp_path}/tuned.txt)" in capsys.readouterr().out.replace("\n", "")


def test_a_wrong_wish_is_answered(tmp_path: Path) -> None:
    done = run_module("benchmark", *SMALL, "tune=perhaps", "hydra.run.dir=bench", cwd=tmp_path)
    assert done.returncode == 1 and "tune=perhaps: must be false, true, or recipe" in done.stderr
    with pytest.raises(ValueError, match="processes=1 at least 2"):
        measure(tmp_path, "kind=ranks", "kind.processes=1")


@pytest.mark.slow
def test_start_up_and_ranks_are_measured(tmp_path: Path) -> None:
    result = measure(tmp_path, "kind=startup", "kind.rounds=1")
    assert min(times[0] for times in result.seconds.values()) > 0
    result = measure(tmp_path, "kind=ranks", "kind.rounds=1", "kind.steps=2", *SMALL)
    assert result.ratios["largest difference of a loss in 2 steps"] < 1e-3
