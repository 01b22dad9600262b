"""What is measured, and what follows from it."""

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
from helpers import SMALL, compose_config, run_module
from hydra import initialize_config_dir
from PIL import Image
from torch.nn.functional import softplus
from torchvision import transforms

from gan_lab.benchmarks import tuning
from gan_lab.benchmarks.bare_step import bare_step, cycle
from gan_lab.benchmarks.quality import OURS, TUTORIAL, QualityResult, in_slices
from gan_lab.benchmarks.step_report import StepResult, affordable, clock, happenings
from gan_lab.benchmarks.tuning import Trial, TuneResult
from gan_lab.benchmarks.tutorial import FolderImages, Loop, Tutorial, picture_folder, tutorial
from gan_lab.building.trainer import build_trainer
from gan_lab.config import CONF_DIR, Job, instantiate
from gan_lab.config.help import format_help
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.callbacks import IntervalTrigger, MilestoneTrigger

ONCE = ["benchmark.rounds=1", "benchmark.steps=1", "benchmark.warmup=1"]


def make(path: Path, *overrides: str) -> Job:
    cfg = compose_config(*SMALL, "console=plain", *overrides, config="benchmark")
    path.mkdir(exist_ok=True)
    return Job(cfg, {}, overrides, RunDirectory(path), "test", None, resumed=False)


def measure(path: Path, *overrides: str):
    job = make(path, *overrides)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return instantiate(job.cfg.benchmark, "benchmark")(job)


def test_shares_of_the_phases_add_up_and_follow_from_how_often_they_happen(tmp_path: Path) -> None:
    chosen = ["n_critic=2", "evaluation.every_kimg=0.032", "penalty=r1", "penalty.interval=4", "benchmark.tutorial=false"]
    result: StepResult = measure(tmp_path, *ONCE, *chosen)
    assert result.times == {  # of 4 steps of 16 images, with a tick at 32 images and one at the end
        "data": 1.0,
        "discriminator": 1.0,
        "penalty, every 4": 1 / 4,
        "generator": 1 / 2,
        "average": 1.0,
        "logging": 1 / 4,
        "evaluation": pytest.approx(3 / 4),  # and one of the untrained generator
        "sampling": 2 / 4,
        "checkpoint": 2 / 4,
        "page": result.times["page"],
    }
    assert sum(map(result.share, result.times)) == pytest.approx(1)
    assert result.per_step("generator") == result.median("generator") / 2
    events = sum(result.per_step(name) for name in ("evaluation", "sampling", "checkpoint", "page"))
    assert result.figures["training_seconds"] == pytest.approx(4 * result.median("whole loop"))
    assert result.figures["run_seconds"] == pytest.approx(4 * (result.median("whole loop") + events))
    assert list(tmp_path.iterdir()) == []  # nothing of a run


def test_what_is_written_holds_the_choices_in_force(tmp_path: Path) -> None:
    result: StepResult = measure(tmp_path, *ONCE, "benchmark.tutorial=false", "model.norm=none", "optimizer.fused=false")
    written = json.loads(json.dumps(result.to_dict()))
    assert written["phases"].keys() == result.times.keys() <= written["milliseconds"].keys()
    assert min(written["figures"].values()) > 0 and written["facts"]["tutorial loop"] == "left out, benchmark.tutorial=false"
    choices = written["choices"]
    assert choices | {"discriminator_passes": "joint", "optimizer.fused": False, "memory_format": "channels_last"} == choices
    assert choices | {"reuse_fakes": True, "compile": "none", "num_threads": 1, "torch": str(torch.__version__)} == choices


def test_a_score_that_must_wait_is_measured_and_counted_as_often_as_it_is_taken(tmp_path: Path) -> None:
    chosen = ["evaluation.every_kimg=0.016", "evaluation.max_time_fraction=1e-6", "benchmark.tutorial=false"]
    result: StepResult = measure(tmp_path, *ONCE[1:], "benchmark.rounds=3", *chosen)
    assert min(result.seconds["evaluation"]) > 1e-3  # not the nothing it is to refuse
    assert result.times["evaluation"] == 1 / 4  # at the end


@pytest.mark.parametrize(
    ("count", "seconds", "share", "expected"), [(9, 1, None, 9), (9, 1, 0.1, 9), (20, 1, 0.1, 10), (5, 99, 0.1, 1)]
)
def test_what_is_allowed_a_share_of_the_training_happens_less_often(
    count: int, seconds: float, share: float | None, expected: float
) -> None:
    assert affordable(count, seconds, share, training_seconds=100) == pytest.approx(expected)


def test_a_penalty_of_every_step_is_told_apart_and_the_tutorial_stands_beside(tmp_path: Path) -> None:
    result: StepResult = measure(tmp_path, *ONCE, "penalty=gradient_penalty", "model.norm=none")
    assert result.times["penalty"] == 1 and result.median("penalty") > 0  # differentiating twice is never for nothing
    assert {"bare step", "whole loop", "tutorial loop"} <= set(result.seconds)
    assert list(result.ratios) == ["whole loop / bare step", "images/s of the whole loop / of the tutorial loop"]


@pytest.mark.parametrize(
    "chosen",
    [
        ["discriminator_passes=joint", "model.norm=none"],
        ["reuse_fakes=false", "max_grad_norm=0.1"],
        ["loss=wasserstein", "penalty=weight_clipping", "model.norm=none", "optimizer=rmsprop"],
        ["n_critic=2", "penalty=r1", "penalty.interval=2"],
    ],
    ids=lambda chosen: chosen[0],
)
def test_the_bare_step_learns_what_the_loop_learns(tmp_path: Path, chosen: list[str]) -> None:
    """Bit for bit: were it to leave out any of the arithmetic, it would be no measure."""
    weights = []
    for bare in (True, False):
        trainer = build_trainer(make(tmp_path, *chosen))
        batch = next(trainer.loader.batches())
        step = bare_step(trainer, batch) if bare else lambda trainer=trainer, batch=batch: trainer.step(batch)
        trainer.callbacks = trainer.callbacks.subset([], end=2**62)
        torch.manual_seed(1)
        for _ in range(2 * cycle(trainer)):
            step()
        weights.append(
            [w for player in ("discriminator", "generator") for w in getattr(trainer.updater.gan, player).state_dict().values()]
        )
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_grown_and_conditional_step_can_be_measured(tmp_path: Path) -> None:
    result = measure(tmp_path, *ONCE, "model=progan_small", "conditioning=projection")
    assert {"bare step", "whole loop"} <= set(result.seconds) and "tutorial loop" not in result.seconds
    assert result.facts["tutorial loop"].startswith("left out, tutorials' networks know no labels")
    assert result.facts["the run as configured"].startswith("at most ")  # most of it is at smaller sizes


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        (IntervalTrigger(100), 10),
        (IntervalTrigger(300), 4),
        (IntervalTrigger(5000), 1),
        (MilestoneTrigger([100, 250, 1000]), 3),
        (MilestoneTrigger([]), 1),
    ],
)
def test_events_happen_as_often_as_their_cadence_says_and_at_the_end(
    cadence: IntervalTrigger | MilestoneTrigger, expected: int
) -> None:
    assert happenings(cadence, end=1000, batch_size=50) == expected


def test_durations_are_told_as_clocks() -> None:
    assert [clock(s) for s in (0.4, 61, 3600 * 27 + 59.6)] == ["0:00:00", "0:01:01", "27:01:00"]


def test_the_tutorials_process_trains_and_ends_whatever_happens(tmp_path: Path) -> None:
    job = make(tmp_path / "job")
    trainer = build_trainer(job)
    before = {name: value.clone() for name, value in trainer.updater.gan.generator.state_dict().items()}
    with pytest.raises(RuntimeError, match="something else"), tutorial(job.cfg, trainer, 8, tmp_path) as book:
        assert book.steps(2) > 0
        after = book.generator()
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[name], before[name]) for name in before)
        raise RuntimeError("something else")
    assert book._process.poll() == 0
    with pytest.raises(ValueError, match="closed file"):
        book.steps(1)
    assert all(torch.equal(value, before[name]) for name, value in trainer.updater.gan.generator.state_dict().items())


def test_a_tutorial_that_can_not_go_on_is_told_of(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with pytest.raises(ValueError, match="the tutorial loop has ended before its time"):
        Tutorial(process, tmp_path).steps(1)
    with suppress(BrokenPipeError):
        process.communicate()


def test_the_tutorial_reads_files_where_torchvision_finds_the_same(tmp_path: Path) -> None:
    for n in range(4):
        path = tmp_path / "pictures" / f"class{n % 2}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 32), 60 * n).save(path)
    folder = str(tmp_path / "pictures")
    cfg = compose_config("dataset=folder", f"dataset.path={folder}")
    assert picture_folder(cfg, 4) == folder
    assert picture_folder(cfg, 3) is None  # dataset.limit, say: not the same pictures
    assert picture_folder(compose_config("dataset=folder", f"dataset.path={folder}/class0"), 2) is None  # no class folders
    assert picture_folder(compose_config(), 10_000) is None


def test_the_tutorials_step_is_its_own_arithmetic(tmp_path: Path) -> None:
    """Against the step written down once more, without loader: two backward passes, the same fakes, Adam as it comes."""
    trainer = build_trainer(make(tmp_path))
    players = [copy.deepcopy(getattr(trainer.updater.gan, name)) for name in ("generator", "discriminator")]
    data = FolderImages(
        trainer.loader.data.images(slice(8)), transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    )
    loop = Loop(*players, data, 8, trainer.updater.gan.latents.size, torch.device("cpu"))
    real = torch.stack([data[n][0] for n in range(8)])
    loop._batches = iter([(real, None)])
    g, d = (copy.deepcopy(player) for player in players)
    torch.manual_seed(3)
    loop.step()
    torch.manual_seed(3)
    fake = g(torch.randn(8, trainer.updater.gan.latents.size))
    adam = [torch.optim.Adam(player.parameters(), lr=2e-4, betas=(0.5, 0.999)) for player in (g, d)]
    loss = softplus(-d(real).logits).mean() + softplus(d(fake.detach()).logits).mean()
    loss.backward()
    adam[1].step()
    loss_g = softplus(-d(fake).logits).mean()
    loss_g.backward()
    adam[0].step()
    assert loop.figures == {"d": pytest.approx(loss.item(), rel=1e-5), "g": pytest.approx(loss_g.item(), rel=1e-5)}
    for mine, theirs in ((g, loop.generator), (d, loop.discriminator)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a, b, atol=5e-5)  # a first step of Adam is the rate in the gradient's direction


def test_errors_of_precisions_stand_in_their_order(tmp_path: Path) -> None:
    result = measure(tmp_path, *ONCE, "benchmark=precision")
    assert {"fp32", "bf16", "int16"} <= set(next(iter(result.errors.values())))
    assert any(name.startswith("g: gradient of") for name in result.errors) and "d: logit" in result.errors
    for errors in result.errors.values():
        assert errors["fp32"] < 1e-4 and errors["fp32"] < errors["int16"] < errors["bf16"]


def test_a_neighbour_is_measured(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        result = measure(tmp_path, *ONCE, "benchmark=contention")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    several, one = (f"images/s beside a busy process, {threads} / alone" for threads in ("2 threads", "1 thread"))
    assert list(result.ratios) == [several, one] and len(result.seconds) == 4


def test_curves_are_trained_in_turn_and_compared_at_the_tutorials_end(tmp_path: Path) -> None:
    calls: list[str] = []

    def slices(name: str, count: int, scores: list[float]):
        values = iter(scores)

        def train(n: int) -> float | None:
            calls.append(name)
            return 2.0 if n < count else None

        return train, lambda: next(values)

    curves = in_slices({OURS: slices("a", 3, [100, 50, 20, 10]), TUTORIAL: slices("b", 2, [100, 60, 30])})
    assert calls == ["a", "b", "a", "b", "a", "b", "a"]
    assert curves == {OURS: [(0, 100), (2, 50), (4, 20), (6, 10)], TUTORIAL: [(0, 100), (2, 60), (4, 30)]}
    result = QualityResult("fd", curves, 2, tmp_path)
    assert result.reached() == 4 and "is there after 4 s, 1/1.0 of the time" in result.sentence()
    worse = QualityResult("fd", {**curves, OURS: curves[OURS][:2]}, 2, tmp_path)
    assert worse.reached() is None and "does not reach that in its 2 s: 50 at best" in worse.sentence()
    result.print()
    assert {path.name for path in tmp_path.iterdir()} == {"quality.png", "quality.svg"}


def test_quality_trains_both(tmp_path: Path) -> None:
    result = measure(tmp_path, "benchmark=quality", "benchmark.epochs=1", "benchmark.batch_size=32", "epochs=0.5")
    assert [len(curve) for curve in result.curves.values()] == [2, 2]
    assert result.curves[OURS][0][1] == pytest.approx(result.curves[TUTORIAL][0][1], rel=1e-6)  # the same untrained generator


def tuned(path: Path, recipe: bool, *overrides: str) -> TuneResult:
    return tuning.tune(make(path, *overrides), ["epochs=1"], recipe=recipe, rounds=1, steps=1)


def test_tuning_tries_what_may_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_try", lambda best, tried, told, *numbers: Trial(told, [1.0]))
    compiled = {"compile=generator", "compile=both"}
    tried = {trial.choice for trial in tuned(tmp_path, False).trials}
    assert tried == {"memory_format=contiguous", "optimizer.fused=false"} | compiled  # batch norm mixes images
    assert "discriminator_passes=split" in {trial.choice for trial in tuned(tmp_path, False, "model.norm=none").trials}
    notes = {trial.choice: trial.note for trial in tuned(tmp_path, True).trials}
    assert notes["discriminator_passes=joint"] == notes["reuse_fakes=false"] == "changes what is learnt"
    assert notes["memory_format=contiguous"] == ""


def test_what_is_tried_is_measured_beside_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CHOICES", tuning.CHOICES[:1])
    result = tuning.tune(make(tmp_path), [], recipe=False, rounds=3, steps=1)
    (trial,) = result.trials
    assert trial.choice == "memory_format=contiguous" and len(trial.faster) == 3 and min(trial.faster) > 0
    assert trial.kept == trial.is_worth_it() and result.kept == ([trial.choice] if trial.kept else [])


def test_what_is_tried_reaches_the_optimizers(tmp_path: Path) -> None:
    job = make(tmp_path)
    choice = next(choice for choice in tuning.CHOICES if choice.key == "optimizer.fused")
    for fused, tried in ((True, job), (False, choice.made(job, False))):
        assert [phase.optimizer.param_groups[0]["fused"] for phase in build_trainer(tried).updater.phases] == [fused, fused]


def test_what_can_not_be_compiled_is_told_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CHOICES", tuning.CHOICES[-1:])
    result = tuned(tmp_path, False, "activation_checkpointing=true")
    assert [trial.faster for trial in result.trials] == [[], []] and result.kept == []
    assert "continues without compiling, because activation checkpointing is not combined with it" in result.trials[0].note
    result.print()


@pytest.mark.parametrize(
    ("faster", "worth"), [([1.04, 1.05, 1.1], True), ([1.01, 1.02, 1.1], False), ([0.99, 1.2, 1.3], False), ([], False)]
)
def test_only_what_is_beyond_the_noise_is_kept(faster: list[float], worth: bool) -> None:
    assert Trial("compile=both", faster).is_worth_it() == worth


def test_tuning_writes_overrides_that_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "_try", lambda best, tried, told, *numbers: Trial(told, [1.5 if "=joint" not in told else 0.9]))
    result = tuned(tmp_path, True)
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


def test_a_wrong_wish_is_answered(tmp_path: Path) -> None:
    done = run_module("benchmark", *SMALL, "tune=perhaps", "hydra.run.dir=bench", cwd=tmp_path)
    assert done.returncode == 1 and "tune=perhaps: must be false, true, or recipe" in done.stderr
    for wrong, message in (
        (["benchmark=distributed", "benchmark.processes=1"], "processes=1 at least 2"),
        (["benchmark.rounds=0"], "benchmark: rounds=0, steps=10 and warmup=5 must be at least 1"),
        (["benchmark=quality", "benchmark.epochs=0"], "epochs=0, batch_size=64 and slices=1 must be at least 1"),
        (["benchmark=quality", "evaluation=none"], "benchmark=quality needs a score: evaluation=fast"),
        (["benchmark=quality", "model=progan_small"], "benchmark=quality: tutorials' networks do not grow"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(tmp_path, *wrong)


def test_the_help_names_every_kind() -> None:
    told = format_help("benchmark")
    assert all(kind.stem in told for kind in (CONF_DIR / "benchmark").glob("*.yaml"))


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
def test_the_tutorial_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
from pathlib import Path
from test_benchmark import build_trainer, make, tutorial
job = make(Path({str(tmp_path)!r}))
with tutorial(job.cfg, build_trainer(job), 8, Path({str(tmp_path)!r})) as book:
    book.steps(1)
    print(book._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    child = Path("/proc") / done.stdout.split()[-1]
    deadline = time.monotonic() + 30
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not child.exists()


@pytest.mark.slow
def test_start_up_and_ranks_are_measured(tmp_path: Path) -> None:
    result = measure(tmp_path, "benchmark=startup", "benchmark.rounds=1")
    assert min(times[0] for times in result.seconds.values()) > 0
    result = measure(tmp_path, "benchmark=distributed", "benchmark.rounds=1", "benchmark.steps=2", *SMALL)
    assert result.ratios["largest difference of a loss in 2 steps"] < 1e-3
