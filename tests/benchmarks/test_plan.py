"""What a run will cost: ``plan=true``."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import make_job, run_module, train

import gan_lab
import gan_lab.benchmarks.plan
from gan_lab.benchmarks.plan import make_plan


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_lab.benchmarks.plan, "TRIAL_SECONDS", 0.0)


def test_a_plan_has_all_work_of_the_run_and_its_sizes(tmp_path: Path) -> None:
    one, ten = (
        make_plan(make_job(tmp_path / "run", f"epochs={epochs}", "sample.max_time_fraction=null")) for epochs in (1, 10)
    )
    assert {"training at 32x32", "evaluation", "sampling", "checkpoint"} <= {what for what, _, _ in one.rows}
    steps = [next(times for what, times, _ in plan.rows if what.startswith("training")) for plan in (one, ten)]
    assert steps[1] == pytest.approx(10 * steps[0]) and ten.images == 10 * one.images
    assert one.seconds == sum(seconds for _, _, seconds in one.rows) > 0
    assert 0 < one.checkpoint_mib < one.disk_mib < ten.disk_mib and one.memory_mib > 0


def test_a_growing_network_is_tried_at_each_resolution(tmp_path: Path) -> None:
    plan = make_plan(make_job(tmp_path / "run", "model=progan_small", "evaluation=none", "dataset.size=16", "epochs=8"))
    stages = [(what, times) for what, times, _ in plan.rows if what.startswith("training")]
    assert [what for what, _ in stages] == ["training at 4x4", "training at 8x8", "training at 16x16"]
    assert all(times > 0 for _, times in stages) and "evaluation" not in {what for what, _, _ in plan.rows}


@pytest.mark.slow
def test_the_command_says_the_cost_and_trains_nothing(tmp_path: Path) -> None:
    done = train("plan=true", "seeds=3", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "about" in done.stdout and "3 runs: about" in done.stdout and "memory:" in done.stdout and "disk:" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_plan_is_about_new_runs(tmp_path: Path) -> None:
    done = run_module("train", "-m", "plan=true", "loss=bce,hinge", cwd=tmp_path)
    assert done.returncode == 1 and "plan=true estimates a new run: leave out -m and resume" in done.stderr
    with pytest.raises(ValueError, match="plan=true prints a table and trains nothing"):
        gan_lab.train(["plan=true"])
