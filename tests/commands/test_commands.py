"""The real command lines, tiny."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import SMALL, assert_same, make_job, run_module, train
from PIL import Image

import gan_lab
from gan_lab.building.trainer import build_trainer
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory

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
        *("time/images_per_second", "time/seconds_per_epoch", "memory/peak_mib"),
    }
    assert all(0 <= row[name] <= 1 for row in ticks for name in ("d/accuracy_real", "d/accuracy_fake", "g/fool_rate"))
    assert [row["images"] for row in rows if "fd_fashion" in row] == [0, 64, 128]


def test_the_summary_says_what_was_done_and_how_it_was_scored(finished: RunDirectory) -> None:
    summary = finished.read_summary()
    assert (summary["status"], summary["images"], summary["epochs"]) == ("finished", 128, 2)
    assert summary["final"]["fd_fashion"] == finished.history()[-1]["fd_fashion"]
    assert summary["best"]["fd_fashion"] <= summary["final"]["fd_fashion"]
    protocol = summary["final"]["protocols"]["default"]
    assert protocol["fakes"] == 32 and protocol["reals"] == "all 64 training images" and summary["score"] == "fd_fashion"
    assert summary["epoch_seconds"] == pytest.approx(summary["seconds"] / 2)
    assert summary["parameters"]["generator"] > 0 and summary["versions"]["torch"] == torch.__version__


def test_a_piped_console_is_one_line_a_tick(finished: RunDirectory) -> None:
    lines = (finished.path.parent / "stdout.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["run", "data", "networks", "recipe", "score"]
    ticks = [line for line in lines if "D loss" in line]
    assert len(ticks) == 2 and all(
        re.match(r"epoch \d\.00  (64|128) images  D loss .* G loss .* images/s .* s/epoch", t) for t in ticks
    )
    assert "\x1b" not in "".join(lines)


def test_pictures_are_pictures(finished: RunDirectory) -> None:
    with (
        Image.open(finished.final) as final,
        Image.open(finished.sample_grid(128)) as last,
        Image.open(finished.reals) as reals,
    ):
        assert final.size == last.size == reals.size == (2 * (2 * 32 + 2),) * 2
        assert final.tobytes() == last.tobytes() != reals.tobytes()


def test_the_report_stands_alone(finished: RunDirectory) -> None:
    page = finished.report.read_text()
    assert "finished" in page and "fd_fashion" in page and page.count("<svg") == 7
    assert not re.search(r'(src|href)="(?!data:|#)', page), "a page that needs other files or a network"
    before = finished.report.stat().st_mtime_ns
    done = run_module("report", "run=run", cwd=finished.path.parent)
    assert done.returncode == 0 and done.stdout.strip().endswith("report.html")
    assert finished.report.stat().st_mtime_ns > before


# -- going on ----------------------------------------------------------------------------------------------------------


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
    with pytest.raises(SystemExit) as ended:
        broken.train()
    assert ended.value.code == 143 and broken.records.directory.read_summary()["status"] == "interrupted"
    resumed = build_trainer(make_job(tmp_path / "broken", "epochs=4", *extra))
    resumed.checkpointer.restore(checkpoint.load(broken.records.directory.checkpoint("last")))
    assert resumed.progress.images == broken.progress.images == 9 * 16
    resumed.train()
    assert_same(whole.records.directory, resumed.records.directory)


@pytest.mark.slow
def test_evaluation_and_previews_change_nothing_in_the_training(tmp_path: Path) -> None:
    states = []
    for name, extra in (("with", []), ("without", ["evaluation=none", "sample.at_epochs=[]", "sample.count=1"])):
        trainer = build_trainer(make_job(tmp_path / name, "epochs=2", *extra))
        trainer.train()
        state = checkpoint.load(trainer.records.directory.checkpoint("last"))
        states.append({key: state[key] for key in ("generator", "discriminator", "generator_ema", "phases", "rng_states")})
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
    assert [row["g/learning_rate"] for row in ticks] == [6e-4, 1e-4, 1e-4]
    config = run.config.read_text()
    assert "epochs: 3" in config and "- optimizer.lr=1e-4" in config and "limit: 64" in config
    assert run.read_summary()["images"] == 192


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resume=nowhere"], "nowhere is not a run directory: it does not exist"),
        (["resume=."], "is not a run directory: it holds no config.yaml"),
        (["resume=run"], "has already trained 2 epochs; give more: epochs=4"),
        (
            ["resume=run", "epochs=9", "model.width=8"],
            "model.(discriminator.)?width is part of the trained run",
        ),
        (["resume=run", "epochs=9", "optimizer=sgd"], "optimizer=sgd would exchange a whole group"),
        (["resume=run", "epochs=9", "batch_size=4"], "batch_size is part of the trained run and can't become 4"),
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
    assert "last.pt is damaged" in done.stderr and "resume_from=best resumes from" in done.stderr
    done = run_module("train", "resume=run", "epochs=2", "resume_from=best", cwd=tmp_path)
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
    assert summary["status"] == "interrupted"
    images = checkpoint.load(run.checkpoint("last"))["images"]
    assert images == summary["images"] > 0
    done = run_module("train", f"resume={run.path}", f"epochs={images / 64 + 1}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run.read_summary()["status"] == "finished"


def test_divergence_ends_the_run_with_its_last_healthy_checkpoint(tmp_path: Path) -> None:
    done = train("optimizer=sgd", "optimizer.lr=1e20", "epochs=3", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1 and "diverged" in done.stderr and "Traceback" not in done.stderr
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "diverged"
    swept = train("optimizer=sgd", "optimizer.lr=1e20", "objective=fd_fashion", "hydra.run.dir=other", cwd=tmp_path)
    assert swept.returncode == 0, "a sweep goes on: the run is worth infinity"


def test_nothing_is_overwritten_by_a_second_run_in_the_same_place(finished: RunDirectory) -> None:
    before = finished.checkpoint("last").read_bytes()
    done = train("hydra.run.dir=run", cwd=finished.path.parent)
    assert done.returncode == 1 and "run already holds a run: resume=" in done.stderr
    assert finished.checkpoint("last").read_bytes() == before


# -- several at once ---------------------------------------------------------------------------------------------------


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
        (["run=run", "checkpoint=worst"], "checkpoint=worst: must be one of last, best, pretrained"),
        (["run=run", "count=0"], "count=0"),
        (["run=run", "cuont=3"], "cuont: there is no such key; did you mean count"),
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


def bench(*arguments: str, cwd: Path) -> dict[str, dict[str, list[float]]]:
    done = run_module("benchmark", *SMALL, *arguments, "hydra.run.dir=bench", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads((cwd / "bench" / "benchmark.json").read_text())


def test_the_growth_benchmark_measures_every_size(tmp_path: Path) -> None:
    result = bench(
        "benchmark=growth",
        "benchmark.rounds=1",
        "benchmark.steps=1",
        "model=progan_small",
        "dataset.size=16",
        "batch_size=4",
        cwd=tmp_path,
    )
    assert list(result["milliseconds"]) == ["4x4, batch 16", "8x8, batch 8", "16x16, batch 4"]
    assert list(result["ratios"]) == [f"seconds per kimg at {size} / at 16" for size in (4, 8)]
    done = run_module("benchmark", *SMALL, "benchmark=growth", cwd=tmp_path)
    assert done.returncode == 1 and "benchmark=growth measures networks that grow" in done.stderr


def test_the_data_benchmark_prepares_streams_and_starts(tmp_path: Path) -> None:
    result = bench(
        "benchmark=data",
        "benchmark.rounds=1",
        "benchmark.pictures=80",
        "benchmark.size=16",
        "benchmark.batch_size=8",
        "benchmark.large=1000",
        cwd=tmp_path,
    )
    assert len(result["milliseconds"]) == 6 and all(min(times) > 0 for times in result["milliseconds"].values())


def test_a_benchmark_keeps_out_of_runs(finished: RunDirectory) -> None:
    for arguments, message in ((["resume=run"], "a benchmark can't be resumed"), (["hydra.run.dir=run"], "run holds a run")):
        done = run_module("benchmark", *SMALL, *arguments, cwd=finished.path.parent)
        assert done.returncode == 1 and message in done.stderr, done.stderr


# -- what a stranger broke ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resume_from_the_best_checkpoint_is_for_once_and_drops_what_came_after(tmp_path: Path) -> None:
    assert train("hydra.run.dir=run", "epochs=3", cwd=tmp_path).returncode == 0
    run = RunDirectory(tmp_path / "run")
    early = checkpoint.load(run.checkpoint("last")) | {"images": 64}
    checkpoint.save(run.checkpoint("best"), {k: v for k, v in early.items() if k != "format"})
    assert run_module("train", "resume=run", "epochs=2", "resume_from=best", cwd=tmp_path).returncode == 0
    assert [path.name for path in run.sample_grids()] == [f"images-{n:09d}.png" for n in (0, 64, 128)]
    assert run_module("train", "resume=run", "epochs=4", cwd=tmp_path).returncode == 0
    resumed = [json.loads(line)["images"] for line in run.metrics.read_text().splitlines() if "resumed" in line]
    assert resumed == [64, 128], "the second resume goes on from the last checkpoint"


def test_keys_of_any_chosen_group_may_change_on_resume_from_any_working_directory(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for n in range(32):
        Image.new("RGB", (20, 20), (8 * n, n, 255 - n)).save(pictures / f"{n}.png")
    own = ["dataset=folder", "dataset.path=pictures", "paths.data=data", "dataset.size=32", "dataset.limit=null"]
    done = train(*own, "schedule=cosine", "optimizer=sgd", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "elsewhere").mkdir()
    arguments = ["resume=../run", "epochs=2", "schedule.end=0.5", "optimizer.momentum=0.25"]
    done = run_module("train", *arguments, cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    config = RunDirectory(tmp_path / "run").config.read_text()
    assert "end: 0.5" in config and config.count("momentum: 0.25") == 3
    Image.new("RGB", (20, 20)).save(pictures / "new.png")
    done = run_module("train", "resume=run", "epochs=3", cwd=tmp_path)
    assert done.returncode == 1 and "the data set has 33 images now and had 32" in done.stderr


@pytest.mark.slow
def test_a_run_whose_defaults_have_moved_keeps_its_own(tmp_path: Path) -> None:
    assert train("loss=bce", "loss.label_smoothing=0.1", "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    run = RunDirectory(tmp_path / "run")
    run.config.write_text(run.config.read_text().replace("rampup: 0.05", "rampup: 0.06"))
    done = run_module("train", "resume=run", "epochs=2", "loss.label_smoothing=0.2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = run.config.read_text()
    assert config.count("label_smoothing: 0.2") == 2 and "rampup: 0.06" in config


@pytest.mark.slow
def test_sigterm_ends_with_its_code_and_takes_the_multirun_along(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gan_lab.train", "-m", *SMALL, "epochs=100000", "seed=1,2", "hydra.sweep.dir=sweep"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first = RunDirectory(tmp_path / "sweep" / "0")
    deadline = time.monotonic() + 120
    while not any("d/loss" in row for row in first.history()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert first.read_summary()["status"] == "interrupted" and not (tmp_path / "sweep" / "1").exists()


def test_a_run_killed_before_its_first_epoch_can_be_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gan_lab.train", *SMALL, "epochs=2", "checkpoint.every_kimg=1000", "hydra.run.dir=run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = RunDirectory(tmp_path / "run")
    deadline = time.monotonic() + 120
    while not run.checkpoint("last").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = run_module("train", "resume=run", "epochs=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run.read_summary()["images"] == 192


def test_a_skipped_first_step_does_not_poison_sgds_momentum(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, "optimizer=sgd", "precision=fp16", "loss.generator.hinge.weight=1e6"))
    trainer.callbacks = trainer.callbacks.subset([], end=10**9)
    for batch, _ in zip(trainer.loader.batches(), range(40), strict=False):
        trainer.step(batch)
    momenta = [state["momentum_buffer"] for phase in trainer.updater.phases for state in phase.optimizer.state.values()]
    assert trainer.metrics.averager.read(SingleProcess())["g/skipped_steps"] > 0
    assert momenta and all(buffer.isfinite().all() and buffer.abs().max() < 1e8 for buffer in momenta)


def test_what_the_system_refuses_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for module, arguments in (
        ("train", [*SMALL, "hydra.run.dir=file/run"]),
        ("sample", ["run=file"]),
        ("report", ["run=file"]),
        ("prepare", ["dataset=mnist", "paths.data=file"]),
    ):
        done = run_module(module, *arguments, cwd=tmp_path)
        assert done.returncode == 1 and "Traceback" not in done.stderr and "file" in done.stderr, done.stderr


def test_an_objective_nothing_will_log_is_refused_before_the_training(tmp_path: Path) -> None:
    done = train("objective=fidd", "hydra.run.dir=run", cwd=tmp_path)
    assert (
        done.returncode == 1 and "objective=fidd: this run will have no such figure; it will have epoch_seconds" in done.stderr
    )
    assert not (tmp_path / "run").exists()
    done = train("objective=[fd_fashion,epoch_seconds]", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_records_with_damage_are_read_as_far_as_they_go(finished: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    with run.metrics.open("ab") as handle:
        handle.write(b"[1, 2]\n3\n\xff\xfe\n")
    run.sample_grid(64).write_bytes(run.sample_grid(64).read_bytes()[:100])
    done = run_module("report", "run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run.summary.write_text("{bad")
    done = run_module("report", "run=run", cwd=tmp_path)
    assert done.returncode == 1 and "summary.json is damaged" in done.stderr
