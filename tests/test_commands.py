"""The real command lines, tiny."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import SMALL, make_job, run_module
from PIL import Image

import gan_lab
from gan_lab.build import build_trainer
from gan_lab.directory import RunDirectory
from gan_lab.training import checkpoint

CPU = torch.device("cpu")


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_module("train", *SMALL, *arguments, cwd=cwd)


# -- what a run leaves -------------------------------------------------------------------------------------------------


def test_a_run_leaves_everything_the_contract_lists(finished: RunDirectory) -> None:
    names = {path.relative_to(finished.path).as_posix() for path in finished.path.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "train.log",
        "losses.png",
        "samples.webp",
        "report.html",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "samples/images-000000000.png",
        "samples/images-000000064.png",
        "samples/images-000000128.png",
        "samples/final.png",
        "samples/reals.png",
    }


def test_figures_of_both_players_are_logged(finished: RunDirectory) -> None:
    rows = finished.history()
    ticks = [row for row in rows if "d/loss" in row]
    assert [row["images"] for row in ticks] == [64, 128]
    assert set(ticks[-1]) == {
        *("images", "epoch", "seconds"),
        *("d/loss", "d/hinge", "d/accuracy_real", "d/accuracy_fake", "d/gradient_norm", "d/learning_rate"),
        *("g/loss", "g/hinge", "g/fool_rate", "g/gradient_norm", "g/learning_rate"),
        *("time/images_per_second", "time/epoch", "memory/peak_mib"),
    }
    assert all(0 <= row[name] <= 1 for row in ticks for name in ("d/accuracy_real", "d/accuracy_fake", "g/fool_rate"))
    assert [row["images"] for row in rows if "fd_random" in row] == [0, 64, 128]


def test_the_summary_says_what_was_done_and_how_it_was_scored(finished: RunDirectory) -> None:
    summary = finished.read_summary()
    assert (summary["status"], summary["images"], summary["epochs"]) == ("finished", 128, 2)
    assert summary["final"]["fd_random"] == finished.history()[-1]["fd_random"]
    assert summary["best"]["fd_random"] <= summary["final"]["fd_random"]
    assert summary["final"]["protocol"]["fakes"] == 32
    assert summary["epoch_seconds"] == pytest.approx(summary["seconds"] / 2)
    assert summary["parameters"]["generator"] > 0 and summary["versions"]["torch"] == torch.__version__


def test_a_piped_console_is_one_line_a_tick(finished: RunDirectory) -> None:
    lines = (finished.path.parent / "stdout.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["run", "data", "networks", "training"]
    ticks = [line for line in lines if "d/loss" in line]
    assert len(ticks) == 2 and all(
        re.match(r"epoch \d\.00  0\.1k images  d/loss .* g/loss .* images/s .* s/epoch", t) for t in ticks
    )
    assert "\x1b" not in "".join(lines)


def test_pictures_are_pictures(finished: RunDirectory) -> None:
    with Image.open(finished.final) as final, Image.open(finished.preview(128)) as last, Image.open(finished.reals) as reals:
        assert final.size == last.size == reals.size == (2 * (2 * 32 + 2),) * 2
        assert final.tobytes() == last.tobytes() != reals.tobytes()


def test_the_report_stands_alone(finished: RunDirectory) -> None:
    page = finished.report.read_text()
    assert "finished" in page and "fd_random" in page and page.count("<svg") == 5
    assert not re.search(r'(src|href)="(?!data:|#)', page), "a page that needs other files or a network"
    before = finished.report.stat().st_mtime_ns
    done = run_module("report", "run=run", cwd=finished.path.parent)
    assert done.returncode == 0 and done.stdout.strip().endswith("report.html")
    assert finished.report.stat().st_mtime_ns > before


# -- going on ----------------------------------------------------------------------------------------------------------


def comparable(directory: RunDirectory) -> tuple[list[dict[str, float]], dict[str, object]]:
    """What two runs that did the same must share: all figures but times and memory, and every tensor of the checkpoint."""
    rows = [{k: v for k, v in row.items() if not k.startswith(("time", "memory", "seconds"))} for row in directory.history()]
    state = checkpoint.load(directory.checkpoint("last"), CPU)
    return rows, {
        key: state[key] for key in ("generator", "discriminator", "average", "phases", "random", "preview_latents", "images")
    }


def assert_same(a: RunDirectory, b: RunDirectory) -> None:
    (rows_a, state_a), (rows_b, state_b) = comparable(a), comparable(b)
    assert rows_a == rows_b
    torch.testing.assert_close(state_a, state_b, rtol=0, atol=0)
    with Image.open(a.final) as one, Image.open(b.final) as two:
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(
    "extra",
    [[], ["model=dcgan_cifar", "precision=fp16", "optimizer=rmsprop", "n_critic=2", "log.every_kimg=0.048", "schedule=cosine"]],
    ids=["default", "dropout-scaler-schedule-and-a-tick-across-the-break"],
)
def test_a_resumed_run_is_bit_identical_to_one_that_never_stopped(tmp_path: Path, extra: list[str]) -> None:
    whole = build_trainer(make_job(tmp_path / "whole", "epochs=4", *extra))
    whole.train()
    broken = build_trainer(make_job(tmp_path / "broken", "epochs=4", *extra))
    take_step, steps = broken.step, iter(range(8))

    def step(batch: object) -> None:
        if next(steps, None) is None:
            signal.raise_signal(signal.SIGTERM)
        take_step(batch)  # type: ignore[arg-type]

    broken.step = step  # type: ignore[method-assign]
    assert broken.train()["status"] == "stopped"
    resumed = build_trainer(make_job(tmp_path / "broken", "epochs=4", *extra))
    resumed.load_state_dict(checkpoint.load(broken.directory.checkpoint("last"), CPU))
    assert resumed.images == broken.images == 9 * 16
    resumed.train()
    assert_same(whole.directory, resumed.directory)


def test_evaluation_and_previews_change_nothing_in_the_training(tmp_path: Path) -> None:
    states = []
    for name, extra in (("with", []), ("without", ["evaluation=none", "sample.at_epochs=[]", "sample.count=1"])):
        trainer = build_trainer(make_job(tmp_path / name, "epochs=2", *extra))
        trainer.train()
        state = checkpoint.load(trainer.directory.checkpoint("last"), CPU)
        states.append({key: state[key] for key in ("generator", "discriminator", "average", "phases", "random")})
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert not RunDirectory(tmp_path / "without").checkpoint("best").exists()


def test_resume_goes_on_in_place_for_longer_and_with_other_values(tmp_path: Path) -> None:
    assert train("hydra.run.dir=run", cwd=tmp_path).returncode == 0
    done = run_module("train", "resume=run", "epochs=3", "optimizer.lr=1e-4", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDirectory(tmp_path / "run")
    assert list(tmp_path.iterdir()) == [run.path], "a resume must not begin another run directory"
    ticks = [row for row in run.history() if "d/loss" in row]
    assert [row["images"] for row in ticks] == [64, 128, 192]
    assert [row["g/learning_rate"] for row in ticks] == [2e-4, 1e-4, 1e-4]
    config = run.config.read_text()
    assert "epochs: 3" in config and "- optimizer.lr=1e-4" in config and "limit: 64" in config
    assert run.read_summary()["images"] == 192


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resume=nowhere"], "nowhere is not a run directory: it does not exist"),
        (["resume=."], "is not a run directory: it holds no config.yaml"),
        (["resume=run"], "has already seen its 2 epochs; give more, such as epochs=4"),
        (
            ["resume=run", "epochs=9", "model.width=8"],
            "model.discriminator.width belongs to what run has learnt|model.width belongs",
        ),
        (["resume=run", "epochs=9", "optimizer=sgd"], "optimizer=sgd would exchange a whole group"),
        (["resume=run", "epochs=9", "batch_size=4"], "batch_size belongs to what run has learnt"),
        (["resume=run", "epochs=9", "kimg=1"], "epochs and kimg both say how long to train"),
    ],
)
def test_a_resume_that_makes_no_sense_is_refused_and_changes_nothing(
    finished: RunDirectory, arguments: list[str], message: str
) -> None:
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file() and path.name != "train.log"}
    done = run_module("train", *arguments, cwd=finished.path.parent)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert before == {path: path.read_bytes() for path in before}
    left = {path.name for path in finished.path.parent.iterdir()} - {"run", "stdout.txt"}
    assert left <= {"outputs"} and not list(finished.path.parent.glob("outputs/*/*"))


def test_a_damaged_checkpoint_is_named_and_the_other_one_offered(tmp_path: Path) -> None:
    assert train("hydra.run.dir=run", cwd=tmp_path).returncode == 0
    last = RunDirectory(tmp_path / "run").checkpoint("last")
    last.write_bytes(last.read_bytes()[:-1000])
    done = run_module("train", "resume=run", "epochs=2", cwd=tmp_path)
    assert done.returncode == 1
    assert "last.pt is damaged" in done.stderr and "checkpoint.resume_from=best goes on from" in done.stderr
    done = run_module("train", "resume=run", "epochs=2", "checkpoint.resume_from=best", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert RunDirectory(tmp_path / "run").read_summary()["images"] == 128


def test_ctrl_c_saves_and_a_resume_completes_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gan_lab.train", *SMALL, "epochs=100000", "hydra.run.dir=run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    run = RunDirectory(tmp_path / "run")
    deadline = time.monotonic() + 120
    while not any("d/loss" in row for row in run.history()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "SIGINT: saving after this step" in output and "Traceback" not in output
    assert f"resume={Path('run')}" in output
    summary = run.read_summary()
    assert summary["status"] == "stopped"
    images = checkpoint.load(run.checkpoint("last"), CPU)["images"]
    assert images == summary["images"] > 0
    done = run_module("train", f"resume={run.path}", f"epochs={images / 64 + 1}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run.read_summary()["status"] == "finished"


def test_divergence_ends_the_run_with_its_last_healthy_checkpoint(tmp_path: Path) -> None:
    done = train("optimizer=sgd", "optimizer.lr=1e20", "epochs=3", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1 and "diverged" in done.stderr and "Traceback" not in done.stderr
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "diverged"
    swept = train("optimizer=sgd", "optimizer.lr=1e20", "objective=fd_random", "hydra.run.dir=other", cwd=tmp_path)
    assert swept.returncode == 0, "a sweep goes on: the run is worth infinity"


def test_nothing_is_overwritten_by_a_second_run_in_the_same_place(finished: RunDirectory) -> None:
    before = finished.checkpoint("last").read_bytes()
    done = train("hydra.run.dir=run", cwd=finished.path.parent)
    assert done.returncode == 1 and "run already holds a run: resume=" in done.stderr
    assert finished.checkpoint("last").read_bytes() == before


# -- several at once ---------------------------------------------------------------------------------------------------


def test_a_multirun_makes_one_run_for_each_choice(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SMALL, "optimizer=adam,rmsprop", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [RunDirectory(tmp_path / "sweep" / str(n)) for n in range(2)]
    assert [run.read_summary()["status"] for run in runs] == ["finished"] * 2
    assert [run.read_summary()["name"].rsplit(",", 1)[-1] for run in runs] == ["optimizer=adam", "optimizer=rmsprop"]


def test_one_refused_job_does_not_stop_the_others(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SMALL, "batch_size=1000,16", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1 and "batch_size=1000 is larger than the data set" in done.stderr
    assert RunDirectory(tmp_path / "sweep" / "1").read_summary()["status"] == "finished"


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_sampling_writes_a_grid_and_single_images(finished: RunDirectory, tmp_path: Path) -> None:
    arguments = [f"run={finished.path}", "count=10", "seed=1", "out=drawn"]
    done = run_module("sample", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [*(f"{n}.png" for n in range(10)), "grid.png"]
    with Image.open(tmp_path / "drawn" / "3.png") as single:
        assert single.size == (32, 32) and single.mode == "L"
        drawn = gan_lab.Run.open(finished.path).sample(10, seed=1)  # type: ignore[attr-defined]
        assert single.tobytes() == drawn[3].numpy().tobytes()
    again = run_module("sample", *arguments, cwd=tmp_path)
    assert again.returncode == 1 and "drawn already holds files" in again.stderr
    assert run_module("sample", *arguments, "overwrite=true", "checkpoint=best", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run=nowhere"], "nowhere is not a run directory"),
        (["run=run", "checkpoint=worst"], "checkpoint=worst: must be last or best"),
        (["run=run", "count=0"], "count=0"),
        (["run=run", "cuont=3"], "Could not override 'cuont'"),
        ([], "run"),
    ],
)
def test_sampling_says_what_is_wrong(finished: RunDirectory, arguments: list[str], message: str) -> None:
    done = run_module("sample", *arguments, cwd=finished.path.parent)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_a_run_opens_as_an_object(finished: RunDirectory) -> None:
    run = gan_lab.Run.open(finished.path)  # type: ignore[attr-defined]
    assert run.images_seen == 128 and run.summary["status"] == "finished" and len(run.history) == 5
    a, b = run.sample(5, seed=3), run.sample(5, seed=3, batch_size=2)
    assert a.shape == (5, 1, 32, 32) and a.dtype == torch.uint8
    assert (a.int() - b.int()).abs().max() <= 1


def test_the_benchmark_measures_each_part_and_writes_it_down(tmp_path: Path) -> None:
    done = run_module("benchmark", *SMALL, "benchmark.rounds=2", "benchmark.steps=2", "hydra.run.dir=bench", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench" / "benchmark.json").read_text())
    assert set(result["milliseconds"]) == {"bare step", "whole loop", "data", "d turn", "g turn", "average"}
    assert all(len(times) == 2 and min(times) > 0 for times in result["milliseconds"].values())
    assert result["whole_loop_over_bare_step"] > 0.5
