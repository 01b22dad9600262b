"""Benchmarks: measurements, derived ratios and estimates, tuning, and the tutorial's process."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers import SMALL, compose_config, every_nth, run_module
from PIL import Image
from torch.nn.functional import softplus
from torchvision import transforms

from gan_lab.benchmarks import tuning
from gan_lab.benchmarks.bare_step import bare_step, steps_per_cycle
from gan_lab.benchmarks.quality import CONFIGURED, TUTORIAL, QualityResult, train_alternately
from gan_lab.benchmarks.speedrun import Attempt, SpeedrunBenchmark, SpeedrunResult
from gan_lab.benchmarks.step_report import StepResult, affordable_count, count_events
from gan_lab.benchmarks.tuning import Trial, TuneResult
from gan_lab.benchmarks.tutorial import FolderImages, Loop, Tutorial, image_folder_path, start_tutorial
from gan_lab.building.trainer import build_trainer
from gan_lab.config import CONF_DIR, Job, instantiate
from gan_lab.config.help import format_help
from gan_lab.config.hydra_versions import initialize
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.callbacks import IntervalTrigger, MilestoneTrigger

ONCE = ["benchmark.rounds=1", "benchmark.steps=1", "benchmark.warmup=1"]


def make_job(path: Path, *overrides: str) -> Job:
    cfg = compose_config(*SMALL, "console=plain", *overrides, config="benchmark")
    path.mkdir(exist_ok=True)
    return Job(cfg, {}, overrides, RunDirectory(path), "test", None, resumed=False)


def measure(path: Path, *overrides: str):
    job = make_job(path, *overrides)
    with initialize():
        return instantiate(job.cfg.benchmark, "benchmark")(job)


def test_fractions_of_the_phases_follow_from_how_often_they_are_executed(tmp_path: Path) -> None:
    chosen = ["n_critic=2", "evaluation.every_kimg=0.032", "penalty=r1", "penalty.interval=4", "benchmark.tutorial=false"]
    result: StepResult = measure(tmp_path, *ONCE, *chosen)
    assert result.times == {  # in 4 steps of 16 images; logging after 64 images
        "data": 1.0,
        "discriminator": 1.0,
        "penalty, every 4": 1 / 4,
        "generator": 1 / 2,
        "EMA": 1.0,
        "logging": 1 / 4,
        "evaluation": pytest.approx(3 / 4),  # one of them before training
        "sampling": 2 / 4,
        "checkpoint": 2 / 4,
        "page": result.times["page"],
    }
    assert sum(map(result.fraction, result.times)) == pytest.approx(1)
    assert result.seconds_per_step("generator") == result.median("generator") / 2
    events = sum(result.seconds_per_step(name) for name in ("evaluation", "sampling", "checkpoint", "page"))
    assert result.estimates["training_seconds"] == pytest.approx(4 * result.median("whole loop"))
    assert result.estimates["run_seconds"] == pytest.approx(4 * (result.median("whole loop") + events))
    assert list(tmp_path.iterdir()) == []  # no files of a run


def test_the_written_result_contains_the_effective_settings(tmp_path: Path) -> None:
    result: StepResult = measure(tmp_path, *ONCE, "benchmark.tutorial=false", "model.norm=none", "optimizer.fused=false")
    written = json.loads(json.dumps(result.to_dict()))
    assert written["phases"].keys() == result.times.keys() <= written["milliseconds"].keys()
    assert (
        min(written["figures"].values()) > 0 and written["facts"]["tutorial loop"] == "not measured, benchmark.tutorial=false"
    )
    choices = written["choices"]
    assert choices | {"discriminator_passes": "joint", "optimizer.fused": False, "memory_format": "channels_last"} == choices
    assert choices | {"reuse_fakes": True, "compile": "none", "num_threads": 1, "torch": str(torch.__version__)} == choices


@pytest.mark.slow
def test_a_time_limited_evaluation_is_measured_and_counted_as_often_as_it_is_executed(tmp_path: Path) -> None:
    chosen = ["evaluation.every_kimg=0.016", "evaluation.max_time_fraction=1e-6", "benchmark.tutorial=false"]
    result: StepResult = measure(tmp_path, *ONCE[1:], "benchmark.rounds=3", *chosen)
    assert min(result.seconds["evaluation"]) > 1e-3  # not skipped
    assert result.times["evaluation"] == 1 / 4  # at the end


@pytest.mark.parametrize(
    ("count", "seconds", "max_time_fraction", "expected"), [(9, 1, None, 9), (9, 1, 0.1, 9), (20, 1, 0.1, 10), (5, 99, 0.1, 1)]
)
def test_a_time_limit_reduces_how_often_a_callback_is_called(
    count: int, seconds: float, max_time_fraction: float | None, expected: float
) -> None:
    assert affordable_count(count, seconds, max_time_fraction, training_seconds=100) == pytest.approx(expected)


@pytest.mark.slow
def test_a_penalty_of_every_step_is_reported_separately_and_the_tutorial_is_measured(tmp_path: Path) -> None:
    result: StepResult = measure(tmp_path, *ONCE, "penalty=gradient_penalty", "model.norm=none")
    assert result.times["penalty"] == 1 and result.median("penalty") > 0  # double backward takes time
    assert {"bare step", "whole loop", "tutorial loop"} <= set(result.seconds)
    assert list(result.ratios) == ["whole loop / bare step", "images/s of the whole loop / of the tutorial loop"]


@pytest.mark.parametrize(
    "chosen",
    every_nth(
        [
            ["discriminator_passes=joint", "model.norm=none"],
            ["reuse_fakes=false", "max_grad_norm=0.1"],
            ["reuse_fakes=false", "reuse_reals=false", "loss=relativistic"],
            ["loss=wasserstein", "penalty=weight_clipping", "model.norm=none", "optimizer=rmsprop"],
            ["n_critic=2", "penalty=r1", "penalty.interval=2"],
        ],
        2,
    ),
    ids=lambda chosen: chosen[0],
)
def test_the_bare_step_computes_the_same_weights_as_the_loop(tmp_path: Path, chosen: list[str]) -> None:
    """Bit-identical: it leaves out none of the computations."""
    weights = []
    for bare in (True, False):
        trainer = build_trainer(make_job(tmp_path, *chosen))
        batch = next(trainer.loader.batches())
        step = bare_step(trainer, batch) if bare else lambda trainer=trainer, batch=batch: trainer.step(batch)
        trainer.callbacks = trainer.callbacks.subset([], end=2**62)
        torch.manual_seed(1)
        for _ in range(2 * steps_per_cycle(trainer)):
            step()
        weights.append(
            [w for name in ("discriminator", "generator") for w in getattr(trainer.updater.gan, name).state_dict().values()]
        )
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.slow
def test_a_progressive_and_conditional_network_can_be_measured(tmp_path: Path) -> None:
    result = measure(tmp_path, *ONCE, "model=progan_small", "conditioning=projection")
    assert {"bare step", "whole loop"} <= set(result.seconds) and "tutorial loop" not in result.seconds
    assert result.facts["tutorial loop"].startswith("not measured, the tutorial's loop has no labels")
    assert result.facts["configured run"].startswith("at most ")  # lower resolutions take less


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (IntervalTrigger(100), 10),
        (IntervalTrigger(300), 4),
        (IntervalTrigger(5000), 1),
        (MilestoneTrigger([100, 250, 1000]), 3),
        (MilestoneTrigger([]), 1),
    ],
)
def test_callbacks_are_counted_by_their_trigger_and_at_the_end(
    trigger: IntervalTrigger | MilestoneTrigger, expected: int
) -> None:
    assert count_events(trigger, end=1000, batch_size=50) == expected


@pytest.mark.slow
def test_the_tutorials_process_trains_and_ends_after_an_error(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job")
    trainer = build_trainer(job)
    before = {name: value.clone() for name, value in trainer.updater.gan.generator.state_dict().items()}
    with pytest.raises(RuntimeError, match="something else"), start_tutorial(job.cfg, trainer, 8, tmp_path) as tutorial:
        assert tutorial.steps(2) > 0
        after = tutorial.generator()
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[name], before[name]) for name in before)
        raise RuntimeError("something else")
    assert tutorial._process.poll() == 0
    with pytest.raises(ValueError, match="closed file"):
        tutorial.steps(1)
    assert all(torch.equal(value, before[name]) for name, value in trainer.updater.gan.generator.state_dict().items())


@pytest.mark.slow
def test_the_tutorials_process_trains_networks_with_spectral_normalization(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", "model=sngan")
    trainer = build_trainer(job)
    with start_tutorial(job.cfg, trainer, 8, tmp_path) as tutorial:
        expected = {name: value.clone() for name, value in trainer.updater.gan.generator.state_dict().items()}
        assert all(torch.equal(value, expected[name]) for name, value in tutorial.generator().items())
        assert tutorial.steps(1) > 0


def test_an_ended_tutorial_process_is_reported(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with pytest.raises(ValueError, match="the process of the tutorial loop has ended"):
        Tutorial(process, tmp_path).steps(1)
    with suppress(BrokenPipeError):
        process.communicate()


def test_the_tutorial_reads_a_folder_in_which_torchvision_finds_the_same_images(tmp_path: Path) -> None:
    for n in range(4):
        path = tmp_path / "images" / f"class{n % 2}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 32), 60 * n).save(path)
    folder = str(tmp_path / "images")
    cfg = compose_config("dataset=folder", f"dataset.path={folder}")
    assert image_folder_path(cfg, 4) == folder
    assert image_folder_path(cfg, 3) is None  # not the same images, such as with dataset.limit
    assert image_folder_path(compose_config("dataset=folder", f"dataset.path={folder}/class0"), 2) is None  # no class folders
    assert image_folder_path(compose_config(), 10_000) is None


def test_the_tutorials_step_matches_a_reimplementation(tmp_path: Path) -> None:
    """Without the loader: both networks are updated on the same fakes, by Adam with PyTorch's defaults."""
    trainer = build_trainer(make_job(tmp_path))
    networks = [copy.deepcopy(getattr(trainer.updater.gan, name)) for name in ("generator", "discriminator")]
    data = FolderImages(
        trainer.loader.data.images(slice(8)), transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    )
    loop = Loop(*networks, data, 8, trainer.updater.gan.latents.size, torch.device("cpu"))
    real = torch.stack([data[n][0] for n in range(8)])
    loop._batches = iter([(real, None)])
    g, d = (copy.deepcopy(network) for network in networks)
    torch.manual_seed(3)
    loop.step()
    torch.manual_seed(3)
    fake = g(torch.randn(8, trainer.updater.gan.latents.size))
    adam = [torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (g, d)]
    loss = softplus(-d(real).logits).mean() + softplus(d(fake.detach()).logits).mean()
    loss.backward()
    adam[1].step()
    loss_g = softplus(-d(fake).logits).mean()
    loss_g.backward()
    adam[0].step()
    assert loop.losses == {"d": pytest.approx(loss.item(), rel=1e-5), "g": pytest.approx(loss_g.item(), rel=1e-5)}
    for expected, trained in ((g, loop.generator), (d, loop.discriminator)):
        for a, b in zip(expected.parameters(), trained.parameters(), strict=True):
            assert torch.allclose(a, b, atol=5e-5)  # the first step of Adam has the size of the learning rate


@pytest.mark.slow
def test_errors_of_the_precisions_have_the_expected_order(tmp_path: Path) -> None:
    result = measure(tmp_path, *ONCE, "benchmark=precision")
    assert {"fp32", "bf16", "int16"} <= set(next(iter(result.errors.values())))
    assert any(name.startswith("g: gradient of") for name in result.errors) and "d: logit" in result.errors
    for errors in result.errors.values():
        assert errors["fp32"] < 1e-4 and errors["fp32"] < errors["int16"] < errors["bf16"]


def test_contention_is_measured(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        result = measure(tmp_path, *ONCE, "benchmark=contention")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    several, one = (f"images/s with a busy process, {threads} / alone" for threads in ("2 threads", "1 thread"))
    assert list(result.ratios) == [several, one] and len(result.seconds) == 4


def test_runs_are_trained_alternately_and_compared_with_the_tutorials_final_score(tmp_path: Path) -> None:
    calls: list[str] = []

    def slices(name: str, count: int, scores: list[float]):
        values = iter(scores)

        def train(n: int) -> float | None:
            calls.append(name)
            return 2.0 if n < count else None

        return train, lambda: next(values)

    curves = train_alternately({CONFIGURED: slices("a", 3, [100, 50, 20, 10]), TUTORIAL: slices("b", 2, [100, 60, 30])})
    assert calls == ["a", "b", "a", "b", "a", "b", "a"]
    assert curves == {CONFIGURED: [(0, 100), (2, 50), (4, 20), (6, 10)], TUTORIAL: [(0, 100), (2, 60), (4, 30)]}
    result = QualityResult("fd", curves, 2, tmp_path)
    assert result.seconds_to_reach() == 4 and "reaches that after 4 s, 1/1.0 of the time" in result.conclusion()
    worse = QualityResult("fd", {**curves, CONFIGURED: curves[CONFIGURED][:2]}, 2, tmp_path)
    assert worse.seconds_to_reach() is None and "does not reach that in 2 s: its best is 50" in worse.conclusion()
    result.print()
    assert {path.name for path in tmp_path.iterdir()} == {"quality.png", "quality.svg"}


@pytest.mark.slow
def test_the_quality_benchmark_trains_both_runs(tmp_path: Path) -> None:
    result = measure(tmp_path, "benchmark=quality", "benchmark.epochs=1", "benchmark.batch_size=32", "epochs=0.5")
    assert [len(curve) for curve in result.curves.values()] == [2, 2]
    assert result.curves[CONFIGURED][0][1] == pytest.approx(
        result.curves[TUTORIAL][0][1], rel=1e-6
    )  # the same untrained generator


def run_tuning(path: Path, recipe: bool, *overrides: str) -> TuneResult:
    return tuning.tune(make_job(path, *overrides), ["epochs=1"], recipe=recipe, rounds=1, steps=1)


@pytest.mark.slow
def test_tuning_tries_settings_that_do_not_change_the_result_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_compare", lambda best, candidate, choice, *numbers: Trial(choice, [1.0]))
    compiled = {"compile=generator", "compile=both"}
    tried = {trial.choice for trial in run_tuning(tmp_path, False).trials}
    assert (
        tried == {"memory_format=contiguous", "optimizer.fused=false"} | compiled
    )  # not discriminator_passes, because of batch norm
    assert "discriminator_passes=split" in {trial.choice for trial in run_tuning(tmp_path, False, "model.norm=none").trials}
    notes = {trial.choice: trial.note for trial in run_tuning(tmp_path, True).trials}
    assert notes["discriminator_passes=joint"] == notes["reuse_fakes=false"] == "changes the training result"
    assert notes["memory_format=contiguous"] == ""


def test_a_setting_is_compared_with_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CHOICES", tuning.CHOICES[:1])
    result = tuning.tune(make_job(tmp_path), [], recipe=False, rounds=3, steps=1)
    (trial,) = result.trials
    assert trial.choice == "memory_format=contiguous" and len(trial.faster) == 3 and min(trial.faster) > 0
    assert trial.kept == trial.is_faster() and result.kept == ([trial.choice] if trial.kept else [])


def test_a_setting_is_applied_to_both_optimizers(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    choice = next(choice for choice in tuning.CHOICES if choice.key == "optimizer.fused")
    for fused, candidate in ((True, job), (False, choice.apply(job, False))):
        assert [phase.optimizer.param_groups[0]["fused"] for phase in build_trainer(candidate).updater.phases] == [fused, fused]


def test_a_failed_compilation_is_noted_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CHOICES", tuning.CHOICES[-1:])
    result = run_tuning(tmp_path, False, "activation_checkpointing=true")
    assert [trial.faster for trial in result.trials] == [[], []] and result.kept == []
    assert "continues without compiling, because it does not work with activation_checkpointing=true" in result.trials[0].note
    result.print()


@pytest.mark.parametrize(
    ("faster", "expected"), [([1.04, 1.05, 1.1], True), ([1.01, 1.02, 1.1], False), ([0.99, 1.2, 1.3], False), ([], False)]
)
def test_a_speedup_within_the_noise_is_not_kept(faster: list[float], expected: bool) -> None:
    assert Trial("compile=both", faster).is_faster() == expected


def test_tuning_writes_overrides_that_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        tuning, "_compare", lambda best, candidate, choice, *numbers: Trial(choice, [0.9 if "=joint" in choice else 1.5])
    )
    result = run_tuning(tmp_path, True)
    result.print()
    lines = (tmp_path / "tuned.txt").read_text().split()
    assert lines == ["memory_format=contiguous", "optimizer.fused=false", "reuse_fakes=false", "compile=both"]
    cfg = compose_config(*lines)
    assert (cfg.memory_format, cfg.optimizer.generator.fused, cfg.reuse_fakes, cfg.compile) == (
        "contiguous",
        False,
        False,
        "both",
    )
    assert f"python -m gan_lab.train epochs=1 $(cat {tmp_path}/tuned.txt)" in capsys.readouterr().out.replace("\n", "")
    assert json.loads(json.dumps(result.to_dict()))["kept"] == lines


@pytest.mark.slow
def test_wrong_arguments_are_rejected(tmp_path: Path) -> None:
    done = run_module("benchmark", *SMALL, "tune=perhaps", "hydra.run.dir=bench", cwd=tmp_path)
    assert done.returncode == 1 and "tune=perhaps: must be false, true, or recipe" in done.stderr
    for wrong, message in (
        (["benchmark=distributed", "benchmark.processes=1"], "processes=1 at least 2"),
        (["benchmark.rounds=0"], "benchmark: rounds=0, steps=10 and warmup=5 must be at least 1"),
        (["benchmark=quality", "benchmark.epochs=0"], "epochs=0, batch_size=64 and slices=1 must be at least 1"),
        (["benchmark=quality", "evaluation=none"], "benchmark=quality needs a metric: use evaluation=fast"),
        (
            ["benchmark=quality", "model=progan_small"],
            "benchmark=quality: the tutorial's loop can't train progressive networks",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            measure(tmp_path, *wrong)


def test_the_help_lists_every_benchmark() -> None:
    text = format_help("benchmark")
    assert all(option.stem in text for option in (CONF_DIR / "benchmark").glob("*.yaml"))


@pytest.mark.slow
def test_the_command_tunes(tmp_path: Path) -> None:
    done = run_module(
        "benchmark", *SMALL, "tune=true", "benchmark.rounds=1", "benchmark.steps=2", "hydra.run.dir=bench", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"benchmark.json", "tuned.txt"}
    trials = {trial["choice"]: trial for trial in json.loads((tmp_path / "bench" / "benchmark.json").read_text())["trials"]}
    assert (
        trials["compile=both"]["compile_seconds"] is not None or "continues without compiling" in trials["compile=both"]["note"]
    )
    done = run_module("benchmark", *SMALL, "tune=true", "benchmark=growth", "hydra.run.dir=bench2", cwd=tmp_path)
    assert done.returncode == 1 and "leave out benchmark=growth" in done.stderr


@pytest.mark.slow
def test_the_tutorials_process_ends_if_its_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
from pathlib import Path
from test_benchmark import build_trainer, make_job, start_tutorial
job = make_job(Path({str(tmp_path)!r}))
with start_tutorial(job.cfg, build_trainer(job), 8, Path({str(tmp_path)!r})) as tutorial:
    tutorial.steps(1)
    print(tutorial._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    child = Path("/proc") / done.stdout.split()[-1]
    deadline = time.monotonic() + 30
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not child.exists()


@pytest.mark.slow
def test_startup_and_distributed_training_are_measured(tmp_path: Path) -> None:
    result = measure(tmp_path, "benchmark=startup", "benchmark.rounds=1")
    assert min(times[0] for times in result.seconds.values()) > 0
    result = measure(tmp_path, "benchmark=distributed", "benchmark.rounds=1", "benchmark.steps=2", *SMALL)
    assert result.ratios["largest difference of a loss in 2 steps"] < 1e-3


@pytest.mark.slow
def test_a_speedrun_is_timed_for_each_seed_until_it_has_reached_its_score(tmp_path: Path) -> None:
    result = measure(
        tmp_path, "benchmark=speedrun", "benchmark.seeds=2", *SMALL, "evaluation.target=1e6", "evaluation.every_kimg=0.064"
    )
    assert result.reached and [attempt.seed for attempt in result.attempts] == [0, 1]
    for attempt in result.attempts:
        assert attempt.kimg == 0.064 and attempt.score <= 1e6 and attempt.seconds > attempt.training_seconds > 0
    assert result.seconds()[0] == pytest.approx(sum(attempt.seconds for attempt in result.attempts) / 2)


def test_a_speedrun_without_a_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"benchmark=speedrun needs evaluation.target=\.\.\."):
        SpeedrunBenchmark(seeds=1)(make_job(tmp_path))


def test_the_interval_of_a_speedrun_is_students(tmp_path: Path) -> None:
    attempts = [Attempt(seed, seconds, 1.0, 1.0, 9.0) for seed, seconds in enumerate((10.0, 12.0, 14.0))]
    result = SpeedrunResult("fd_x", 10.0, attempts, "python -m gan_lab.train", "cpu, 2 threads")
    mean, half_width = result.seconds()
    assert (mean, half_width) == (12.0, pytest.approx(4.3027 * 2.0 / 3**0.5, rel=1e-4)), "t of 2 degrees of freedom: 4.3027"
    assert "12.0 ± 5.0 s, 3 seeds" in result.row() and result.reached
    assert not SpeedrunResult("fd_x", 8.0, attempts, "", "").reached
