"""Sweeps: what is refused before the first trial, what workers share, and what becomes of a trial whose worker is gone."""

from __future__ import annotations

import json
import math
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from helpers import SMALL, compose_config, run_module
from hydra.errors import HydraException
from omegaconf import OmegaConf
from optuna.samplers import GridSampler, RandomSampler
from optuna.trial import TrialState

from gan_lab.storage.run_directory import RunDirectory
from gan_lab.studies.multirun import Multirun
from gan_lab.sweeps.objective import Objective
from gan_lab.sweeps.optuna_study import OptunaStudy, StudyDefinition
from gan_lab.sweeps.study_storage import LOST, TRIAL, StudyComplete, StudyStorage, suggest_trial_number

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::DeprecationWarning")

SWEEP = [*SMALL, "sweep=quality", "batch_size=16", "penalty=none"]


def sweep(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = run_module("train", "-m", *SWEEP, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def record(cwd: Path, name: str = "quality") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cwd / "multirun" / name / "study.json").read_text())
    return found


# -- a sweep -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three trials, to which one was added, from whose folder all was run."""
    cwd = tmp_path_factory.mktemp("swept")
    sweep("study.trials=3", cwd=cwd)
    again = sweep("study.trials=3", cwd=cwd)
    assert "study quality has its 3 trials: study.trials=6 goes on" in again.stdout
    sweep("study.trials=4", cwd=cwd)
    return cwd


def test_a_study_is_gone_on_with_up_to_the_trials_it_is_to_have(swept: Path) -> None:
    trials = record(swept)["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    assert [trial["state"] for trial in trials] == ["complete"] * 4
    assert len({json.dumps(trial["params"]) for trial in trials}) == 4, "a worker that comes back draws nothing twice"
    for trial in trials:
        run = RunDirectory(swept / "multirun" / "quality" / str(trial["number"]))
        summary = run.read_summary()
        assert trial["values"] == [summary["final"][summary["score"]]]
        cfg = OmegaConf.load(run.config)
        assert math.isclose(cfg.optimizer.generator.lr, trial["params"]["optimizer.generator.lr"])


def test_the_first_trial_is_the_configuration_as_it_stands(swept: Path) -> None:
    study = record(swept)
    assert study["has_default"]
    usual = compose_config()
    assert study["trials"][0]["params"] == {
        "optimizer.generator.lr": usual.optimizer.generator.lr,
        "optimizer.discriminator.lr": usual.optimizer.discriminator.lr,
        "loss": "hinge",
    }


def test_the_page_tells_what_came_of_it(swept: Path) -> None:
    folder = swept / "multirun" / "quality"
    page = (folder / "study.html").read_text()
    best = min(record(swept)["trials"], key=lambda trial: trial["values"][0])
    assert f"trial {best['number']} (" in page and "best score: trial" in page
    assert page.count("data:image/png") == 4 and page.count("<svg") == 4 and 'src="http' not in page
    lines = (folder / "study.csv").read_text().splitlines()
    assert len(lines) == 5 and {"score", "epoch_seconds", "d_loss", "generator.lr"} <= set(lines[0].split(","))
    assert (folder / "study.md").read_text().startswith("| run | fd_fashion |")


def test_the_best_configuration_is_an_experiment_that_trains_the_same(swept: Path) -> None:
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


@pytest.mark.slow
def test_hopeless_trials_are_ended_and_told_as_such(tmp_path: Path) -> None:
    sweep("study.trials=5", "pruner.n_startup_trials=2", "epochs=2", cwd=tmp_path)
    trials = record(tmp_path)["trials"]
    runs = [RunDirectory(tmp_path / "multirun" / "quality" / str(trial["number"])) for trial in trials]
    early = [run for run in runs if run.read_summary()["status"] == "early_stopped"]
    assert 0 < len(early) < 4, "half of them is below the median, on the average"
    for run in early:
        summary = run.read_summary()
        assert summary["alarms"][-1]["alarm"] == "pruned" and summary["epochs"] < 2
    assert (tmp_path / "multirun" / "quality" / "study.md").read_text().count("| pruned |") == len(early)


@pytest.mark.slow
def test_a_trial_may_be_several_trainings(tmp_path: Path) -> None:
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


def test_divergence_is_worth_infinity_and_the_sweep_goes_on(tmp_path: Path) -> None:
    rates = ["optimizer.generator.lr=choice(1e20,1e-3)", "optimizer.discriminator.lr=1e-3"]
    done = sweep("optimizer=sgd", *rates, "loss=bce", "hydra/sweeper/sampler=grid", "study.trials=3", "epochs=2", cwd=tmp_path)
    values = sorted(trial["values"][0] for trial in record(tmp_path)["trials"])
    assert len(values) == 2 and values[0] < values[1] == math.inf, done.stdout
    assert "diverged" in (tmp_path / "multirun" / "quality" / "study.md").read_text()


def test_a_study_of_which_every_trial_fails_says_so(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SWEEP, "study.trials=2", "dataset.size=64", "model=dcgan", "model.width=2",
                      "+model.generator.wdith=1", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1 and "all 2 trials have failed" in done.stderr and "wdith" in done.stdout + done.stderr
    assert [trial["state"] for trial in record(tmp_path)["trials"]] == ["failed"] * 2


# -- what is said before the first trial ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.genrator.lr=interval(1e-4,1e-3)"], "Key 'genrator' is not in struct"),
        (["loss=choice(bce,hinje)"], "Could not find 'loss/hinje'"),
        (["batch_size=choice(16,0)"], "batch_size=0: must be at least 1"),
        (
            ["study.storage=postgresql://nobody@127.0.0.1:1/none"],
            "study.storage=postgresql://nobody@127.0.0.1:1/none can't be reached",
        ),
        (["study.storage=mysql+nodriver://host/db"], "study.storage=mysql+nodriver://host/db"),
        (["study.storage=nonsense"], "study.storage=nonsense"),
        (["study.name=../elsewhere"], "study.name=../elsewhere: a name of letters"),
        (["objective=fid"], "objective=fid: this run will have no such figure; it will have"),
        (["evaluation=none"], "objective=score: this run will have no such figure"),
        (["objective=[score,epoch_seconds]"], "each is minimised, so hydra.sweeper.direction"),
        (["objective=[score,seconds]", "hydra.sweeper.direction=[minimize,minimize]"], "pruner: ends trials of one objective"),
        (["objective=epoch_seconds"], "pruner: ends trials by their scores on the way"),
        (["hydra/sweeper/sampler=grid"], "a grid goes through choices; give optimizer.generator.lr=choice(...)"),
        (["hydra.sweeper.n_trials=5"], "hydra.sweeper.n_trials: it follows from study.trials; give that"),
        (["study.trials=0"], "study.trials=0: must be at least 1"),
        (["loss=bce", "optimizer.generator.lr=1e-4", "optimizer.discriminator.lr=1e-4"], "nothing to choose"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_can_not_be_searched_is_said_before_the_first_trial(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def never() -> None:
        raise AssertionError("Hydra is not to begin")

    with pytest.raises((ValueError, HydraException)) as refused:
        Multirun(never).begin(["-m", *SWEEP, *arguments])
    assert message in f"{refused.value}{refused.value.__cause__}"


def test_a_refusal_is_one_message(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SWEEP, "study.storage=postgresql://nobody:secret@127.0.0.1:1/none", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "study.storage=postgresql://nobody:***@127.0.0.1:1/none can't be reached" in done.stderr
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("loss=choice(bce,hinge)", "a choice of loss=choice(bce, hinge, lsgan) and not choice(bce,hinge)"),
        ("epochs=3", "epochs=1.0 and not 3.0"),
        ("model=dcgan_cifar", "model.discriminator._target_"),
    ],
)
def test_what_would_not_compare_does_not_join_a_study(changed: str, message: str, swept: Path) -> None:
    done = run_module("train", "-m", *SWEEP, "study.trials=9", changed, cwd=swept)
    assert done.returncode == 1 and "the study was begun with" in done.stderr and message in done.stderr
    assert len(record(swept)["trials"]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep=quality"], "sweep=quality needs several runs: add -m"),
        (["seeds=3"], "seeds=3 needs several runs: add -m"),
        (["seeds=3", "seed=1,2"], "seeds=3: counts on from one seed"),
    ],
)
def test_several_runs_are_asked_for_as_such(arguments: list[str], message: str, tmp_path: Path) -> None:
    several = ["-m"] if "add -m" not in message else []
    done = run_module("train", *several, *SMALL, *arguments, cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr
    assert not list(tmp_path.rglob("config.yaml"))


def test_objectives_are_final_values_and_of_several_runs_the_mean() -> None:
    runs = [{"score": "fd_x", "final": {"fd_x": value}, "epoch_seconds": value + 1} for value in (1.0, 4.0)]
    assert Objective("score")(runs) == 2.5
    assert Objective(["fd_x", "epoch_seconds"])(runs) == (2.5, 3.5)
    assert Objective("score")([runs[0], None]) == math.inf
    with pytest.raises(ValueError, match="diverged"):
        Objective(["score", "epoch_seconds"])([None])


# -- workers -------------------------------------------------------------------------------------------------------------

TERMS = StudyDefinition(["score"], {"x": "interval(0,1)"}, {})


def open_study(url: str, trials: int = 4, heartbeat: int = 60) -> OptunaStudy:
    return OptunaStudy("s", url, trials, heartbeat, TERMS, {})


def ask(study: optuna.Study) -> optuna.trial.Trial:
    """As Hydra's sweeper does."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    suggest_trial_number(None, trial)
    return trial


def sampling(url: str, trials: int = 4, sampler: Any = None, heartbeat: int = 60) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=StudyStorage(url, trials, heartbeat), sampler=sampler or RandomSampler())


def test_there_are_as_many_trials_as_wanted_and_not_one_more(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    one, other = sampling(url), sampling(url)
    for n in range(4):
        worker = (one, other)[n % 2]
        worker.tell(ask(worker), float(n))
    for worker in (one, other):
        with pytest.raises(StudyComplete):
            worker.ask()
    assert [trial.number for trial in one.trials] == [0, 1, 2, 3]


def test_a_batch_for_several_processes_is_had_as_a_whole(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=2)
    worker = sampling(url, trials=2)
    batch = [ask(worker) for _ in range(3)]  # it must not wait for itself
    for trial in batch:
        worker.tell(trial, 0.0)
    with pytest.raises(StudyComplete):
        worker.ask()


def silence(storage: StudyStorage, trial_id: int, seconds: int = 3600) -> None:
    """As if its worker had not been heard of for so long."""
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE trial_heartbeats SET heartbeat = datetime('now', '-{seconds} seconds') WHERE trial_id = {trial_id}"
        )


def test_a_trial_whose_worker_is_gone_is_tried_again_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=2)
    gone, here = sampling(url, 2), sampling(url, 2)
    lost = ask(gone)
    silence(StudyStorage(url, 2, 60), lost._trial_id)
    again, other = ask(here), ask(here)
    assert again.params["x"] == lost.params["x"] != other.params["x"]
    for trial in (again, other):
        here.tell(trial, 1.0)
    with pytest.raises(StudyComplete):
        here.ask()
    states = {trial.number: (trial.state, LOST in trial.user_attrs) for trial in here.trials}
    assert states == {0: (TrialState.FAIL, True), 1: (TrialState.COMPLETE, False), 2: (TrialState.COMPLETE, False)}
    assert [trial["state"] for trial in open_study(url, 2).record()["trials"]] == ["lost", "complete", "complete"]


def test_a_worker_that_is_heard_of_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=1)
    busy = sampling(url, 1, heartbeat=1)
    trial = ask(busy)
    code = f"""
import optuna
from gan_lab.sweeps.study_storage import StudyComplete, StudyStorage
study = optuna.load_study(study_name="s", storage=StudyStorage({url!r}, 1, 1))
try:
    study.ask()
except StudyComplete:
    print("complete")
"""
    other = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
    time.sleep(7)  # more than the four seconds of silence after which it would be lost
    assert other.poll() is None
    busy.tell(trial, 1.0)
    assert other.communicate(timeout=60)[0] == "complete\n"


def test_a_lost_point_of_a_grid_is_open_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, trials=3)
    grid = GridSampler({"y": [1, 2, 3]})
    gone, here = (sampling(url, 3, grid) for _ in range(2))
    lost = gone.ask()
    value = lost.suggest_categorical("y", [1, 2, 3])
    silence(StudyStorage(url, 3, 60), lost._trial_id)
    found = []
    for n in range(3):
        trial = here.ask()
        found.append(trial.suggest_categorical("y", [1, 2, 3]))
        here._storage.set_trial_values(trial._trial_id, [float(n)])
        here._storage.set_trial_state(trial._trial_id, TrialState.COMPLETE)
    assert sorted(found) == [1, 2, 3] and value in found


def test_workers_draw_under_numbers_of_their_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    seeds = [open_study(url).seed_for(0) for _ in range(3)]
    assert len(set(seeds)) == 3
    elsewhere = [open_study(f"sqlite:///{tmp_path / 'other.db'}").seed_for(0) for _ in range(3)]
    assert seeds == elsewhere, "and the same ones again in a study of the same kind"


def test_a_study_of_something_else_is_not_touched(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    foreign = optuna.create_study(study_name="s", storage=url)
    foreign.tell(foreign.ask(), 1.0)
    with pytest.raises(ValueError, match="is not one of gan_lab"):
        open_study(url)


def test_the_number_of_a_trial_is_what_its_job_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url)
    worker = sampling(url)
    assert [ask(worker).params[TRIAL] for _ in range(3)] == [0, 1, 2]


def test_an_interrupted_trial_is_left_to_others_at_once(tmp_path: Path) -> None:
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


# -- what not every machine has --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server started for these tests."""
    folders = (
        [Path(found).resolve().parent]
        if (found := shutil.which("initdb"))
        else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    )
    if not folders:
        pytest.skip("no PostgreSQL server on this machine")
    own = Path(tempfile.mkdtemp(prefix="postgresql-"))  # pytest's own folders are closed to other users
    user = None
    if os.geteuid() == 0:  # it refuses to be root's
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("root may not run PostgreSQL, and there is no user postgres")
        os.chown(own, user.pw_uid, user.pw_gid)
    who: dict[str, Any] = {} if user is None else {"user": user.pw_name}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tool, data = folders[-1], own / "data"
    subprocess.run(
        [tool / "initdb", "-D", data, "-A", "trust", "-U", "lab"], check=True, cwd=own, stdout=subprocess.DEVNULL, **who
    )
    options = f"-p {port} -k {own} -c listen_addresses=127.0.0.1"
    start = [tool / "pg_ctl", "-D", data, "-w", "-l", own / "log", "-o", options, "start"]
    subprocess.run(start, check=True, cwd=own, stdout=subprocess.DEVNULL, **who)
    try:
        yield f"postgresql://lab@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [tool / "pg_ctl", "-D", data, "-m", "immediate", "stop"], cwd=own, stdout=subprocess.DEVNULL, check=False, **who
        )
        shutil.rmtree(own, ignore_errors=True)


@pytest.mark.slow
def test_two_workers_share_a_study_in_postgresql_and_one_of_them_is_killed(postgresql: str, tmp_path: Path) -> None:
    options = [f"study.storage={postgresql}", "study.heartbeat=1", "study.trials=8", "epochs=60", "pruner=none"]
    workers = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-m", "gan_lab.train", "-m", *SWEEP, *options]
        with (tmp_path / name / "out").open("w") as out:
            workers.append(subprocess.Popen(command, cwd=tmp_path / name, stdout=out, stderr=subprocess.STDOUT))
    folder = tmp_path / "b" / "multirun" / "quality"
    for _ in range(1200):
        if len(list(folder.glob("*/summary.json"))) >= 2:
            break
        time.sleep(0.1)
    time.sleep(1)
    workers[1].kill()
    assert workers[0].wait(timeout=400) == 0, (tmp_path / "a" / "out").read_text()[-2000:]
    workers[1].wait()
    trials = record(tmp_path / "a")["trials"]
    states = [trial["state"] for trial in trials]
    assert states.count("complete") == 8 and states.count("lost") == 1 and len(states) == 9
    assert [trial["number"] for trial in trials] == list(range(9))
    complete = [json.dumps(trial["params"], sort_keys=True) for trial in trials if trial["state"] == "complete"]
    assert len(set(complete)) == 8, "none is doubled"
    lost = next(trial for trial in trials if trial["state"] == "lost")
    assert json.dumps(lost["params"], sort_keys=True) in complete, "and none is lost"
    done = [
        sum(path.parent.parent.name == "quality" for path in (tmp_path / name).rglob("summary.json")) for name in ("a", "b")
    ]
    assert min(done) >= 2, "both have worked"
    table = (tmp_path / "a" / "multirun" / "quality" / "study.md").read_text()
    assert table.count("| trial ") == 8, "also of those made elsewhere"


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
