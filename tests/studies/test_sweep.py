"""A sweep from the command line: its trials, its page, its best configuration, and continuing it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import compose_config, every_nth, run_module
from omegaconf import OmegaConf
from sweep_helpers import SWEEP, record, sweep

from gan_lab.storage.run_directory import RunDirectory
from gan_lab.storage.run_lock import OWNER

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of a sweep of two trials that was continued with a third."""
    cwd = tmp_path_factory.mktemp("swept")
    sweep("study.trials=2", cwd=cwd)
    again = sweep("study.trials=2", cwd=cwd)
    assert "study quality already has its 2 trials; continue it with study.trials=4" in again.stdout
    sweep("study.trials=3", cwd=cwd)
    return cwd


def test_a_continued_study_has_the_requested_number_of_distinct_trials(swept: Path) -> None:
    trials = record(swept)["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert [trial["state"] for trial in trials] == ["complete"] * 3
    assert len({json.dumps(trial["params"]) for trial in trials}) == 3, "a continued sampler repeats no parameters"
    for trial in trials:
        run = RunDirectory(swept / "multirun" / "quality" / str(trial["number"]))
        summary = run.read_summary()
        assert trial["values"] == [summary["final"][summary["score"]]]
        cfg = OmegaConf.load(run.config)
        assert math.isclose(cfg.optimizer.generator.lr, trial["params"]["optimizer.generator.lr"])


def test_the_first_trial_has_the_default_values(swept: Path) -> None:
    study = record(swept)
    assert study["has_default"]
    default = compose_config()
    assert study["trials"][0]["params"] == {
        "optimizer.generator.lr": default.optimizer.generator.lr,
        "optimizer.discriminator.lr": default.optimizer.discriminator.lr,
        "loss": "hinge",
    }


def test_the_page_and_the_tables_have_all_trials(swept: Path) -> None:
    folder = swept / "multirun" / "quality"
    page = (folder / "study.html").read_text()
    best = min(record(swept)["trials"], key=lambda trial: trial["values"][0])
    assert f"trial {best['number']} (" in page and "best score: trial" in page
    assert page.count('<div class="film">') == 3 and page.count("<svg") == 3 and 'src="http' not in page
    lines = (folder / "study.csv").read_text().splitlines()
    assert len(lines) == 4 and {"score", "epoch_seconds", "d_loss", "generator.lr"} <= set(lines[0].split(","))
    assert (folder / "study.md").read_text().startswith("| run | fd_fashion |")


def test_the_exported_best_experiment_reproduces_its_trial(swept: Path) -> None:
    folder = swept / "multirun" / "quality"
    best = min(record(swept)["trials"], key=lambda trial: trial["values"][0])
    run = RunDirectory(folder / str(best["number"]))
    done = run_module("train", f"--config-dir={folder}", "experiment=best", "device=cpu", "hydra.run.dir=again", cwd=swept)
    assert done.returncode == 0, done.stderr
    again = RunDirectory(swept / "again")
    assert again.read_summary()["final"]["fd_fashion"] == best["values"][0]
    stored = [OmegaConf.to_container(OmegaConf.load(r.config)) for r in (run, again)]
    for cfg in stored:
        assert isinstance(cfg, dict)
        for key in ("choices", "overrides", "study", "objective"):
            cfg.pop(key)
    assert stored[0] == stored[1]


@pytest.mark.skipif(find_spec("optuna.artifacts") is None, reason="Optuna 2 has no artifacts")
def test_the_dashboard_finds_the_picture_of_each_trial(swept: Path) -> None:
    import optuna.artifacts

    folder = swept / "multirun" / "quality"
    study = optuna.load_study(study_name="quality", storage=f"sqlite:///{folder / 'study.db'}")
    for trial in study.trials:
        (picture,) = optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)
        assert picture.filename == "final.png" and picture.mimetype == "image/png"
        assert (folder / "artifacts" / picture.artifact_id).read_bytes() == RunDirectory(
            folder / str(trial.number)
        ).final.read_bytes()


@pytest.mark.slow
def test_pruned_trials_end_early_and_are_marked(tmp_path: Path) -> None:
    sweep("study.trials=5", "pruner.n_startup_trials=2", "epochs=2", cwd=tmp_path)
    trials = record(tmp_path)["trials"]
    runs = [RunDirectory(tmp_path / "multirun" / "quality" / str(trial["number"])) for trial in trials]
    early = [run for run in runs if run.read_summary()["status"] == "early_stopped"]
    assert 0 < len(early) < 4, "some of the trials after the first two are worse than the median"
    for run in early:
        summary = run.read_summary()
        assert summary["alarms"][-1]["alarm"] == "pruned" and summary["epochs"] < 2
    assert (tmp_path / "multirun" / "quality" / "study.md").read_text().count("| pruned |") == len(early)


@pytest.mark.slow
def test_a_trial_can_have_several_seeds(tmp_path: Path) -> None:
    sweep("study.trials=2", "seeds=2", "pruner=none", cwd=tmp_path)
    for trial in record(tmp_path)["trials"]:
        runs = [RunDirectory(tmp_path / "multirun" / "quality" / str(trial["number"]) / f"seed-{seed}") for seed in (0, 1)]
        values = [run.read_summary()["final"]["fd_fashion"] for run in runs]
        assert values[0] != values[1] and math.isclose(trial["values"][0], sum(values) / 2)
    assert "| seeds |" in (tmp_path / "multirun" / "quality" / "study.md").read_text()
    run = tmp_path / "multirun" / "quality" / "1" / "seed-1"
    more = run_module("train", f"resume={run}", "epochs=2", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert RunDirectory(run).read_summary()["epochs"] == 2


@pytest.mark.slow
def test_a_diverged_trial_has_an_infinite_objective_and_the_sweep_continues(tmp_path: Path) -> None:
    rates = ["optimizer.generator.lr=choice(1e20,1e-3)", "optimizer.discriminator.lr=1e-3"]
    done = sweep("optimizer=sgd", *rates, "loss=bce", "hydra/sweeper/sampler=grid", "study.trials=3", "epochs=2", cwd=tmp_path)
    values = sorted(trial["values"][0] for trial in record(tmp_path)["trials"])
    assert len(values) == 2 and values[0] < values[1] == math.inf, done.stdout
    assert "diverged" in (tmp_path / "multirun" / "quality" / "study.md").read_text()


@pytest.mark.slow
def test_a_study_whose_trials_all_fail_reports_it(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SWEEP, "study.trials=2", "dataset.size=64", "model=dcgan", "model.width=2",
                      "+model.generator.wdith=1", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1 and "every trial has failed (2 trials)" in done.stderr and "wdith" in done.stdout + done.stderr
    assert [trial["state"] for trial in record(tmp_path)["trials"]] == ["failed"] * 2


@pytest.mark.parametrize(
    ("changed", "message"),
    every_nth(
        [
            ("loss=choice(bce,hinge)", "loss=choice(bce, hinge, lsgan), not choice(bce,hinge)"),
            ("epochs=3", "epochs=1.0, not 3.0"),
            ("model=dcgan_cifar", "model.discriminator._target_"),
        ],
        2,
    ),
)
def test_incomparable_trials_are_not_added_to_a_study(changed: str, message: str, swept: Path) -> None:
    done = run_module("train", "-m", *SWEEP, "study.trials=9", changed, cwd=swept)
    assert done.returncode == 1 and "the study was started with" in done.stderr and message in done.stderr
    assert len(record(swept)["trials"]) == 3


@pytest.mark.slow
def test_an_interrupted_trial_is_marked_as_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gan_lab.train", "-m", *SWEEP, "study.trials=1", "epochs=100000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    run = RunDirectory(tmp_path / "multirun" / "quality" / "0")
    for _ in range(600):
        if run.checkpoint("last").exists() and len(run.history()) > 3:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [trial["state"] for trial in record(tmp_path)["trials"]] == ["lost"]
    assert run.read_summary()["status"] == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [["joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"], ["submitit_local"]],
    ids=["joblib", "submitit"],
)
def test_other_launchers_run_the_trials(launcher: list[str], tmp_path: Path) -> None:
    name, *more = launcher
    pytest.importorskip(f"hydra_plugins.hydra_{name.partition('_')[0]}_launcher")
    command = [sys.executable, "-m", "gan_lab.train", "-m", *SWEEP, "study.trials=2", f"hydra/launcher={name}", *more]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = record(tmp_path)["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 2
    assert trials[0]["params"] != trials[1]["params"] and all(trial["figures"][0]["d_loss"] for trial in trials)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the job", "the sweep"])
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_killed_process_loses_and_doubles_no_trial(launcher: str, victim: str, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    options = ["study.trials=4", "study.heartbeat=1", f"hydra/launcher={launcher}", "hydra.sweeper.n_jobs=2"]
    command = [sys.executable, "-m", "gan_lab.train", "-m", *SWEEP, *options, "epochs=1e5", "max_seconds=8", "pruner=none"]
    folder = tmp_path / "multirun" / "quality"

    def start() -> subprocess.Popen[str]:
        with (tmp_path / "out").open("a") as out:
            return subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT, text=True)

    sweep_process = start()
    both = [folder / str(n) for n in range(2)]
    while not all((run / "metrics.jsonl").is_file() and (run / OWNER).is_file() for run in both):
        assert sweep_process.poll() is None, (tmp_path / "out").read_text()
        time.sleep(0.1)
    jobs = [json.loads((run / OWNER).read_text())["pid"] for run in both]
    if victim == "the job":
        os.kill(jobs[1], signal.SIGKILL)
    else:
        sweep_process.kill()
        sweep_process.wait()
        sweep_process = start()
    code = sweep_process.wait(timeout=300)
    for job in jobs:  # those of joblib stay, and wait for more work
        with suppress(ProcessLookupError):
            os.kill(job, signal.SIGKILL)
    out = (tmp_path / "out").read_text()
    assert code == 0, out
    trials = record(tmp_path)["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 4, out
    assert sorted(path.name for path in folder.glob("[0-9]*")) == ["0", "1", "2", "3"]
