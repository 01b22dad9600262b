"""The commands, with tiny experiments: output files, resuming, interruptions, sampling and benchmarks."""

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
from helpers import SMALL, assert_same, every_nth, make_job, run_module, train
from PIL import Image

import gan_lab
from gan_lab.building.trainer import build_trainer
from gan_lab.evaluation.folders import list_images, load_images
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory

# -- files of a run -------------------------------------------------------------------------------------------------


def test_a_run_writes_all_documented_files(finished: RunDirectory) -> None:
    names = {path.relative_to(finished.path).as_posix() for path in finished.path.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "train.log",
        "losses.png",
        "samples.webp",
        "explorer.webp",
        "explorer.json",
        "report.html",
        "checkpoints/last.pt",
        "checkpoints/last-1.pt",
        "checkpoints/best.pt",
        "samples/images-000000000.png",
        "samples/images-000000064.png",
        "samples/images-000000128.png",
        "samples/final.png",
        "samples/reals.png",
    }


def test_metrics_of_both_networks_are_logged(finished: RunDirectory) -> None:
    rows = finished.history()
    logged = [row for row in rows if "d/loss" in row]
    assert [row["images"] for row in logged] == [64, 128]
    assert set(logged[-1]) == {
        *("images", "epoch", "seconds"),
        *("d/loss", "d/hinge", "d/accuracy_real", "d/accuracy_fake", "d/gradient_norm", "d/learning_rate"),
        *("g/loss", "g/hinge", "g/fool_rate", "g/gradient_norm", "g/learning_rate"),
        *("time/images_per_second", "time/seconds_per_epoch", "memory/peak_mib"),
    }
    assert all(0 <= row[name] <= 1 for row in logged for name in ("d/accuracy_real", "d/accuracy_fake", "g/fool_rate"))
    assert [row["images"] for row in rows if "fd_fashion" in row] == [0, 64, 128]


def test_the_summary_contains_progress_scores_and_versions(finished: RunDirectory) -> None:
    summary = finished.read_summary()
    assert (summary["status"], summary["images"], summary["epochs"]) == ("finished", 128, 2)
    assert summary["final"]["fd_fashion"] == finished.history()[-1]["fd_fashion"]
    assert summary["best"]["fd_fashion"] <= summary["final"]["fd_fashion"]
    protocol = summary["final"]["protocols"]["default"]
    assert protocol["fakes"] == 32 and protocol["reals"] == "all 64 training images" and summary["score"] == "fd_fashion"
    assert summary["epoch_seconds"] == pytest.approx(summary["seconds"] / 2)
    assert set(summary["other_seconds"]) == {"preparation", "evaluation", "sampling", "checkpoints", "page"}
    assert all(seconds > 0 for seconds in summary["other_seconds"].values())
    assert summary["parameters"]["generator"] > 0 and summary["versions"]["torch"] == torch.__version__


def test_a_piped_console_prints_one_line_per_log_interval(finished: RunDirectory) -> None:
    lines = (finished.path.parent / "stdout.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["run", "data", "networks", "recipe", "score"]
    logged = [line for line in lines if "D loss" in line]
    assert len(logged) == 2 and all(
        re.match(r"epoch \d\.00  (64|128) images  D loss .* G loss .* images/s .* s/epoch", line) for line in logged
    )
    assert "\x1b" not in "".join(lines)


def test_sample_grids_are_readable_images(finished: RunDirectory) -> None:
    with (
        Image.open(finished.final) as final,
        Image.open(finished.sample_grid(128)) as last,
        Image.open(finished.reals) as reals,
    ):
        assert final.size == last.size == reals.size == (2 * (2 * 32 + 2),) * 2
        assert final.tobytes() == last.tobytes() != reals.tobytes()


def test_the_report_is_self_contained_and_can_be_rewritten(finished: RunDirectory) -> None:
    page = finished.report.read_text()
    assert "finished" in page and "fd_fashion" in page and page.count("<svg") == 3 * 8, "eight charts on three clocks"
    assert set(re.findall(r'src="(?!data:)([^"]+)"', page)) == set(), "the page needs other files or the network"
    links = re.findall(r'href="(?!data:)([^"]+)"', page)
    assert links and all((finished.path / link).is_file() for link in links)
    assert "evaluation.num_fakes" in page and "python -m gan_lab.train resume=run epochs=4" in page
    before = finished.report.stat().st_mtime_ns
    done = run_module("report", "run=run", cwd=finished.path.parent)
    assert done.returncode == 0 and done.stdout.strip().endswith("report.html")
    assert finished.report.stat().st_mtime_ns > before


# -- resuming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([], marks=pytest.mark.slow),
        ["model=dcgan_cifar", "precision=fp16", "optimizer=rmsprop", "n_critic=2", "log.every_kimg=0.048", "schedule=cosine"],
    ],
    ids=["default", "dropout-scaler-schedule-and-a-log-interval-across-the-interruption"],
)
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(tmp_path: Path, extra: list[str]) -> None:
    whole = build_trainer(make_job(tmp_path / "whole", "epochs=3", *extra))
    whole.train()
    interrupted = build_trainer(make_job(tmp_path / "interrupted", "epochs=3", *extra))
    take_step, steps = interrupted.step, iter(range(5))

    def step(batch: object) -> None:
        if next(steps, None) is None:
            signal.raise_signal(signal.SIGTERM)
        take_step(batch)  # type: ignore[arg-type]

    interrupted.step = step  # type: ignore[method-assign]
    with pytest.raises(SystemExit) as ended:
        interrupted.train()
    assert ended.value.code == 143 and interrupted.records.directory.read_summary()["status"] == "interrupted"
    resumed = build_trainer(make_job(tmp_path / "interrupted", "epochs=3", *extra))
    resumed.checkpointer.restore(checkpoint.load(interrupted.records.directory.checkpoint("last")))
    assert resumed.progress.images == interrupted.progress.images == 6 * 16
    resumed.train()
    assert_same(whole.records.directory, resumed.records.directory)


@pytest.mark.slow
def test_evaluation_and_samples_do_not_change_the_training_result(tmp_path: Path) -> None:
    states = []
    for name, extra in (("with", []), ("without", ["evaluation=none", "sample.at_epochs=[]", "sample.count=1"])):
        trainer = build_trainer(make_job(tmp_path / name, "epochs=2", *extra))
        trainer.train()
        state = checkpoint.load(trainer.records.directory.checkpoint("last"))
        states.append({key: state[key] for key in ("generator", "discriminator", "generator_ema", "phases", "rng_states")})
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert not RunDirectory(tmp_path / "without").checkpoint("best").exists()


def test_a_resumed_run_may_be_longer_and_have_other_values(tmp_path: Path) -> None:
    assert train("hydra.run.dir=run", cwd=tmp_path).returncode == 0
    done = run_module("train", "resume=run", "epochs=3", "optimizer.lr=1e-4", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDirectory(tmp_path / "run")
    assert list(tmp_path.iterdir()) == [run.path], "a resumed run keeps its directory"
    logged = [row for row in run.history() if "d/loss" in row]
    assert [row["images"] for row in logged] == [64, 128, 192]
    assert [row["g/learning_rate"] for row in logged] == [1e-3, 1e-4, 1e-4]
    config = run.config.read_text()
    assert "epochs: 3" in config and "- optimizer.lr=1e-4" in config and "limit: 64" in config
    assert run.read_summary()["images"] == 192


@pytest.mark.parametrize(
    ("arguments", "message"),
    every_nth(
        [
            (["resume=nowhere"], "nowhere is not a run directory: it does not exist"),
            (["resume=."], "is not a run directory: it holds no config.yaml"),
            (["resume=run"], "has already trained 2 epochs; set more, such as epochs=4"),
            (
                ["resume=run", "epochs=9", "model.width=8"],
                "model.(discriminator.)?width is part of the trained run",
            ),
            (["resume=run", "epochs=9", "optimizer=sgd"], "optimizer=sgd would exchange a whole group"),
            (["resume=run", "epochs=9", "batch_size=4"], "batch_size is part of the trained run and can't become 4"),
            (["resume=run", "epochs=9", "kimg=1"], "epochs and kimg both say how long to train"),
        ],
        2,
    ),
)
def test_an_invalid_resume_is_rejected_and_changes_no_files(finished: RunDirectory, arguments: list[str], message: str) -> None:
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file() and path.name != "train.log"}
    done = run_module("train", *arguments, cwd=finished.path.parent)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert before == {path: path.read_bytes() for path in before}
    left = {path.name for path in finished.path.parent.iterdir()} - {"run", "stdout.txt"}
    assert left <= {"outputs"} and not list(finished.path.parent.glob("outputs/*/*"))


def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(finished: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    whole = run.checkpoint("last").read_bytes()
    run.checkpoint("last").write_bytes(whole[:-1000])
    refused = run_module("sample", "run=run", cwd=tmp_path)
    assert refused.returncode == 1 and "last.pt is damaged" in refused.stderr and "the run has last-1, best" in refused.stderr
    done = run_module("train", "resume=run", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "last.pt is damaged" in done.stdout and "the run goes on from last-1.pt, at 64 images" in done.stdout
    before, after = (checkpoint.load(path)["generator"] for path in (finished.checkpoint("last"), run.checkpoint("last")))
    assert all(torch.equal(before[name], after[name]) for name in before), "the lost epoch is trained again, bit for bit"
    assert run.checkpoint("damaged").read_bytes() == whole[:-1000] and [row["images"] for row in run.history()].count(128) == 2
    run.checkpoint("last").write_bytes(b"")
    for name in ("last-1", "best"):
        run.checkpoint(name).write_bytes(b"x")
    done = run_module("train", "resume=run", "epochs=3", cwd=tmp_path)
    assert done.returncode == 1 and "last.pt is damaged" in done.stderr and run.checkpoint("last").is_file(), "nothing is moved"


def test_ctrl_c_saves_a_checkpoint_from_which_the_run_can_be_resumed(tmp_path: Path) -> None:
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


def test_divergence_ends_a_run_but_not_a_sweep(tmp_path: Path) -> None:
    done = train("optimizer=sgd", "optimizer.lr=1e20", "epochs=3", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1 and "diverged" in done.stderr and "Traceback" not in done.stderr
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "diverged"
    swept = train("optimizer=sgd", "optimizer.lr=1e20", "objective=fd_fashion", "hydra.run.dir=other", cwd=tmp_path)
    assert swept.returncode == 0, "a sweep continues"


def test_a_second_run_in_the_same_directory_is_rejected(finished: RunDirectory) -> None:
    before = finished.checkpoint("last").read_bytes()
    done = train("hydra.run.dir=run", cwd=finished.path.parent)
    assert done.returncode == 1 and "run already holds a run: resume=" in done.stderr
    assert finished.checkpoint("last").read_bytes() == before


# -- multiruns ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_invalid_job_of_a_multirun_does_not_stop_the_others(tmp_path: Path) -> None:
    done = run_module("train", "-m", *SMALL, "batch_size=1000,16", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1 and "batch_size=1000 is larger than the dataset" in done.stderr
    assert RunDirectory(tmp_path / "sweep" / "1").read_summary()["status"] == "finished"


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_sampling_writes_a_grid_and_single_images(finished: RunDirectory, tmp_path: Path) -> None:
    arguments = [f"run={finished.path}", "count=10", "seed=1", "out=generated"]
    done = run_module("sample", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "generated").iterdir()) == [f"{n}.png" for n in range(10)]
    assert (tmp_path / "generated.png").is_file()
    assert len(load_images("fakes", "generated", list_images("fakes", str(tmp_path / "generated")))) == 10, "evaluate takes it"
    with Image.open(tmp_path / "generated" / "3.png") as single:
        assert single.size == (32, 32) and single.mode == "L"
        images = gan_lab.Run.open(finished.path).sample(10, seed=1)  # type: ignore[attr-defined]
        assert single.tobytes() == images[3].numpy().tobytes()
    again = run_module("sample", *arguments, cwd=tmp_path)
    assert again.returncode == 1 and "generated already holds files" in again.stderr
    (tmp_path / "generated" / "mine.png").write_bytes(b"")
    arguments[1:3] = ["count=4", "overwrite=true"]
    assert run_module("sample", *arguments, "checkpoint=best", cwd=tmp_path).returncode == 0
    left = sorted(path.name for path in (tmp_path / "generated").iterdir())
    assert left == [*(f"{n}.png" for n in range(4)), "mine.png"], "only what it has written itself is replaced"


@pytest.mark.parametrize(
    ("arguments", "message"),
    every_nth(
        [
            (["run=nowhere"], "nowhere is not a run directory"),
            (
                ["run=run", "checkpoint=worst"],
                "checkpoint=worst: must be last, last-1 (the one before it",
            ),
            (["run=run", "count=0"], "count=0"),
            (["run=run", "out=grid.png"], "out=grid.png: is the folder of the single images"),
            (["run=run", "tile=3"], "tile=3: has no effect with count=..., only with input; leave it out"),
            (["run=run", "cuont=3"], "cuont: there is no such key; did you mean count"),
            ([], "run"),
        ],
        2,
    ),
)
def test_wrong_arguments_of_sample_are_rejected(finished: RunDirectory, arguments: list[str], message: str) -> None:
    done = run_module("sample", *arguments, cwd=finished.path.parent)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_a_run_can_be_opened_from_python(finished: RunDirectory) -> None:
    run = gan_lab.Run.open(finished.path)  # type: ignore[attr-defined]
    assert run.images_seen == 128 and run.summary["status"] == "finished" and len(run.history) == 5
    a, b = run.sample(5, seed=3), run.sample(5, seed=3, batch_size=2)
    assert a.shape == (5, 1, 32, 32) and a.dtype == torch.uint8
    assert (a.int() - b.int()).abs().max() <= 1


def run_benchmark(*arguments: str, cwd: Path) -> dict[str, dict[str, list[float]]]:
    done = run_module("benchmark", *SMALL, *arguments, "hydra.run.dir=bench", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads((cwd / "bench" / "benchmark.json").read_text())


@pytest.mark.slow
def test_the_growth_benchmark_measures_every_resolution(tmp_path: Path) -> None:
    result = run_benchmark(
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
    assert done.returncode == 1 and "benchmark=growth needs a progressive network" in done.stderr


@pytest.mark.slow
def test_the_data_benchmark_measures_all_actions(tmp_path: Path) -> None:
    result = run_benchmark(
        "benchmark=data",
        "benchmark.rounds=1",
        "benchmark.pictures=80",
        "benchmark.size=16",
        "benchmark.batch_size=8",
        "benchmark.large=1000",
        cwd=tmp_path,
    )
    assert len(result["milliseconds"]) == 6 and all(min(times) > 0 for times in result["milliseconds"].values())


def test_a_benchmark_does_not_use_the_directory_of_a_run(finished: RunDirectory) -> None:
    for arguments, message in ((["resume=run"], "a benchmark can't be resumed"), (["hydra.run.dir=run"], "run holds a run")):
        done = run_module("benchmark", *SMALL, *arguments, cwd=finished.path.parent)
        assert done.returncode == 1 and message in done.stderr, done.stderr


# -- regressions ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_resuming_from_the_best_checkpoint_applies_once_and_discards_later_samples(tmp_path: Path) -> None:
    assert train("hydra.run.dir=run", "epochs=3", cwd=tmp_path).returncode == 0
    run = RunDirectory(tmp_path / "run")
    early = checkpoint.load(run.checkpoint("last")) | {"images": 64}
    checkpoint.save(run.checkpoint("best"), {k: v for k, v in early.items() if k != "format"})
    assert run_module("train", "resume=run", "epochs=2", "resume_from=best", cwd=tmp_path).returncode == 0
    assert [path.name for path in run.sample_grids()] == [f"images-{n:09d}.png" for n in (0, 64, 128)]
    first = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert max(row["images"] for row in first) == 128
    assert run_module("train", "resume=run", "epochs=4", cwd=tmp_path).returncode == 0
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert rows[: len(first)] == first, "the second resume uses the last checkpoint"
    assert len({(row["images"], *sorted(row)) for row in rows}) == len(rows), "no row is there twice"


@pytest.mark.slow
def test_keys_of_any_group_may_change_when_resuming_from_another_working_directory(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for n in range(32):
        Image.new("RGB", (20, 20), (8 * n, n, 255 - n)).save(images / f"{n}.png")
    own = ["dataset=folder", "dataset.path=images", "paths.data=data", "dataset.size=32", "dataset.limit=null"]
    done = train(*own, "schedule=cosine", "optimizer=sgd", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "elsewhere").mkdir()
    arguments = ["resume=../run", "epochs=2", "schedule.end=0.5", "optimizer.momentum=0.25"]
    done = run_module("train", *arguments, cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    config = RunDirectory(tmp_path / "run").config.read_text()
    assert "end: 0.5" in config and config.count("momentum: 0.25") == 3
    Image.new("RGB", (20, 20)).save(images / "new.png")
    done = run_module("train", "resume=run", "epochs=3", cwd=tmp_path)
    assert done.returncode == 1 and "the data set has 33 images now and had 32" in done.stderr


@pytest.mark.slow
def test_a_resumed_run_keeps_its_values_if_defaults_have_changed(tmp_path: Path) -> None:
    assert train("loss=bce", "loss.label_smoothing=0.1", "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    run = RunDirectory(tmp_path / "run")
    run.config.write_text(run.config.read_text().replace("rampup: 0.05", "rampup: 0.06"))
    done = run_module("train", "resume=run", "epochs=2", "loss.label_smoothing=0.2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = run.config.read_text()
    assert config.count("label_smoothing: 0.2") == 2 and "rampup: 0.06" in config


@pytest.mark.slow
def test_sigterm_ends_a_multirun_with_its_exit_code(tmp_path: Path) -> None:
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_skipped_first_step_keeps_sgds_momentum_finite(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, "optimizer=sgd", "precision=fp16", "loss.generator.hinge.weight=1e6"))
    trainer.callbacks = trainer.callbacks.subset([], end=10**9)
    for batch, _ in zip(trainer.loader.batches(), range(40), strict=False):
        trainer.step(batch)
    momenta = [state["momentum_buffer"] for phase in trainer.updater.phases for state in phase.optimizer.state.values()]
    assert trainer.updater.averager.read(SingleProcess())["g/skipped_steps"] > 0
    assert momenta and all(buffer.isfinite().all() and buffer.abs().max() < 1e8 for buffer in momenta)


def test_an_error_of_the_file_system_is_reported_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for module, arguments in (
        ("train", [*SMALL, "hydra.run.dir=file/run"]),
        ("sample", ["run=file"]),
        ("report", ["run=file"]),
        ("prepare", ["dataset=mnist", "paths.data=file"]),
    ):
        done = run_module(module, *arguments, cwd=tmp_path)
        assert done.returncode == 1 and "Traceback" not in done.stderr and "file" in done.stderr, done.stderr


@pytest.mark.slow
def test_an_objective_that_is_not_logged_is_rejected_before_training(tmp_path: Path) -> None:
    done = train("objective=fidd", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1 and "objective=fidd: not measured by this run; choose from epoch_seconds" in done.stderr
    assert not (tmp_path / "run").exists()
    done = train("objective=[fd_fashion,epoch_seconds]", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_damaged_lines_and_images_are_skipped_by_report(finished: RunDirectory, tmp_path: Path) -> None:
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
