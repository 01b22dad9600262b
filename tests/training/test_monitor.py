"""Monitoring of runs: checks, alarms, and the overfitting estimate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from helpers import assert_same, every_nth, make_job, run_module, train
from torch import Tensor, nn

import gan_lab.building.monitoring
from gan_lab.building.datasets import build_dataset
from gan_lab.building.trainer import build_trainer
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.growth import GrowthState
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NormalLatents
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking import Tracker, Trackers
from gan_lab.training.checks import Check, CollapseCheck, DivergenceCheck, GradientCheck, OverfittingCheck
from gan_lab.training.monitor import TrainingMonitor
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.training.trainer import Trainer

# -- checks on given values ---------------------------------------------------------------------------------------------


def verdicts(check: Check, name: str, values: list[float], score: str | None = None) -> list[bool | None]:
    """Whether the check found a problem at each value; None if it had no result."""
    found = [check.check({name: value, "other": 1.0}, score) for value in values]
    return [None if text is None else bool(text) for text in found]


def test_a_collapse_is_a_coverage_far_below_its_best_for_longer_than_patience() -> None:
    def fresh() -> CollapseCheck:
        return CollapseCheck(fraction=0.5, floor=0.1, patience=2)

    assert verdicts(fresh(), "coverage_x", [0.6, 0.29, 0.31, 0.29, 0.2, 0.1, 0.3]) == [False] * 4 + [True, True, False]
    assert verdicts(fresh(), "coverage_x", [0.09, 0.01, 0.0, 0.0]) == [False] * 4, "never above the floor"
    assert verdicts(fresh(), "coverage_x_ci95", [0.9, 0.0, 0.0]) == [None] * 3
    assert verdicts(fresh(), "recall_x", [0.9, 0.0, 0.0]) == [None] * 3
    both = fresh()
    for value in (0.8, 0.1, 0.1):
        text = both.check({"coverage_x": value, "coverage_y": 0.8}, None)
    assert text == "coverage_x has fallen to 0.1, below 0.5 of its best, 0.8"


def test_a_divergence_is_a_score_far_above_its_best() -> None:
    def fresh() -> DivergenceCheck:
        return DivergenceCheck(factor=2.0, patience=2)

    values = [100.0, 10.0, 21.0, 20.0, 21.0, 30.0, math.nan, 19.0]
    assert verdicts(fresh(), "fd_x", values, "fd_x") == [False] * 5 + [True, True, False]
    assert verdicts(fresh(), "fd_x", values, "fd_y") == verdicts(fresh(), "fd_x", values, None) == [None] * 8
    assert verdicts(fresh(), "kid_x", [0.1, -0.01, 0.1, 0.1], "kid_x") == [False] * 4, (
        "a multiple of what is below 0 tells nothing"
    )
    check = fresh()
    verdicts(check, "fd_x", [10.0, 30.0], "fd_x")
    assert verdicts(check, "fd_y", [500.0, 700.0], "fd_y") == [False, False], "another score has another best"


def test_overfitting_is_a_discriminator_that_rates_held_out_images_like_fakes() -> None:
    assert verdicts(OverfittingCheck(limit=0.5, patience=2), "d/overfitting", [0.6, 0.4, 0.6, 0.7, 0.5]) == [
        *(False, False, False),
        *(True, False),
    ]
    assert verdicts(OverfittingCheck(limit=0.5, patience=1), "d/loss", [0.6]) == [None]


def test_gradient_norms_are_compared_with_their_median_after_the_warmup() -> None:
    def fresh() -> GradientCheck:
        return GradientCheck(explosion=100.0, vanishing=0.001, window=5, warmup=3)

    name = "d/gradient_norm"
    assert verdicts(fresh(), name, [1.0, 1.0, 500.0, 1.0, 99.0, 101.0, 1.0]) == [False] * 5 + [True, False]
    assert verdicts(fresh(), name, [2.0, 2.0, 2.0, 2.0, 0.003, 0.002, 2.0, 0.0]) == [False] * 5 + [True, False, True]
    assert verdicts(fresh(), name, [1.0, math.inf, math.nan, 1.0]) == [False, True, True, False], "needs no warm-up"
    assert verdicts(fresh(), name, [*[0.0] * 6, 5.0]) == [False] * 3 + [True] * 3 + [False], "dead from the beginning"
    long = verdicts(fresh(), name, [*[1.0] * 5, *[200.0] * 5])
    assert long == [False] * 5 + [True, True, True] + [False] * 2, "a lasting change becomes the usual"
    check = fresh()
    for _ in range(4):
        check.check({name: 1.0, "g/gradient_norm": 1.0}, None)
    assert check.check({name: 1.0, "g/gradient_norm": 1e3}, None) == (
        "g/gradient_norm has exploded: 1e+03; its median over 4 rows was 1"
    )


STORIES: list[tuple[Check, Check, str, list[float]]] = [
    (CollapseCheck(0.5, 0.1, 2), CollapseCheck(0.5, 0.1, 2), "coverage_x", [0.6, 0.2, 0.2, 0.6, 0.1, 0.1, 0.1]),
    (DivergenceCheck(2.0, 2), DivergenceCheck(2.0, 2), "fd_x", [10.0, 30.0, 30.0, 9.0, 19.0, 18.5, 18.1]),
    (OverfittingCheck(0.5, 3), OverfittingCheck(0.5, 3), "d/overfitting", [0.6, 0.6, 0.6, 0.1, 0.7, 0.7, 0.7]),
    (GradientCheck(9.0, 0.1, 4, 2), GradientCheck(9.0, 0.1, 4, 2), "d/gradient_norm", [1.0, 1.0, 9.5, 1.0, 1.0, 0.01, 50.0]),
]


@pytest.mark.parametrize(("check", "resumed", "name", "values"), STORIES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_check_continues_from_its_state(check: Check, resumed: Check, name: str, values: list[float], after: int) -> None:
    start = json.loads(json.dumps(check.state_dict()))  # plain values, which a checkpoint may hold
    whole = verdicts(check, name, values, "fd_x")
    assert any(whole)
    resumed.load_state_dict(start)
    verdicts(resumed, name, values[:after], "fd_x")
    state = json.loads(json.dumps(resumed.state_dict()))
    resumed.load_state_dict(start)
    resumed.load_state_dict(state)
    assert verdicts(resumed, name, values[after:], "fd_x") == whole[after:]
    check.load_state_dict(start)


# -- alarms ----------------------------------------------------------------------------------------------------------------


class RecordingTracker(Tracker):
    """Keeps the alarms that it receives."""

    def __init__(self) -> None:
        self.alarms: list[tuple[str, str, int]] = []

    def alarm(self, name: str, text: str, images: int) -> None:
        self.alarms.append((name, text, images))


def health(recorded: RecordingTracker, **more: object) -> TrainingMonitor:
    arguments = {"score": "fd_x", "stop_at": [], "restore_best": False} | more
    return TrainingMonitor(
        {"divergence": DivergenceCheck(2.0, 1), "overfitting": OverfittingCheck(0.5, 1)},
        notify=Trackers({"t": recorded}).alarm,
        **arguments,
    )  # type: ignore[arg-type]


def test_an_alarm_is_raised_once_and_cleared_later(caplog: pytest.LogCaptureFixture) -> None:
    recorded = RecordingTracker()
    watch = health(recorded)
    rows: list[dict[str, float]] = [{"fd_x": v} for v in (10.0, 30.0, 40.0, 11.0, 50.0)] + [{"d/loss": 1.0}]
    changes = [watch.check(row, 100 * n) for n, row in enumerate(rows)]
    assert changes == [{}, {"health/divergence": 1.0}, {}, {"health/divergence": 0.0}, {"health/divergence": 1.0}, {}]
    text = "fd_x has risen to 30, above 2 times its best, 10"
    assert recorded.alarms == [("divergence", text, 100), ("divergence", text.replace("30", "50"), 400)]
    assert watch.summary() == [
        {"alarm": "divergence", "images": 100, "text": text, "over": 300},
        {"alarm": "divergence", "images": 400, "text": text.replace("30", "50"), "over": None},
    ]
    warnings = [r for r in caplog.records if r.name == "gan_lab.training.monitor" and r.levelname == "WARNING"]
    assert len(warnings) == 2
    assert f"ALARM divergence at 100 images: {text}" in caplog.text and watch.ended_by is None


def test_a_resumed_monitor_does_not_repeat_alarms_and_clears_them() -> None:
    recorded = RecordingTracker()
    watch, resumed = health(recorded), health(recorded)
    for n, value in enumerate((10.0, 30.0)):
        watch.check({"fd_x": value}, n)
    resumed.load_state_dict(json.loads(json.dumps(watch.state_dict())))
    assert resumed.check({"fd_x": 35.0}, 2) == {} and len(recorded.alarms) == 1
    assert resumed.check({"fd_x": 5.0}, 3) == {"health/divergence": 0.0}
    assert [alarm["over"] for alarm in resumed.summary()] == [3]


def test_a_resumed_run_with_stop_at_ends_at_an_active_alarm() -> None:
    watch, resumed = health(RecordingTracker()), health(RecordingTracker(), stop_at=["divergence"])
    for n, value in enumerate((10.0, 30.0)):
        watch.check({"fd_x": value}, n)
    resumed.load_state_dict(json.loads(json.dumps(watch.state_dict())))
    assert resumed.ended_by is None
    assert resumed.check({"fd_x": 35.0}, 2) == {"health/divergence": 1.0} and resumed.ended_by == resumed.alarms[-1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    every_nth(
        [
            (
                ["health.stop_at=[colapse]"],
                "health.stop_at=colapse: must be one of collapse, divergence, overfitting, gradients, skipped_steps",
            ),
            (
                ["health=none", "health.stop_at=[collapse]"],
                "health.stop_at=collapse: there are no checks; health=watch has some",
            ),
            (
                ["health.collapse=null", "health.stop_at=collapse"],
                "must be one of divergence, overfitting, gradients, skipped_steps",
            ),
            (["health.restore_best=true", "evaluation=none"], r"health.restore_best=true: without a score \(evaluation=none\)"),
            (["health.restore_best=often"], "health.restore_best=often: must be true or false"),
            (["health.held_out=-1"], "health.held_out=-1"),
            (["health.collapse.fraction=1.5"], "fraction=1.5"),
            (["health.divergence.factor=0"], "health.divergence.factor=0: must be positive"),
            (["health.divergence.patience=0"], "health.divergence.patience=0: must be at least 1"),
            (["health.overfitting.limit=-1"], "health.overfitting.limit=-1"),
            (["health.gradients.explosion=1"], "explosion=1"),
            (["health.gradients.warmup=51"], r"warmup=51 must be in \[1, 50\]"),
            (
                ["+health.gradients.patience=1"],
                "health.gradients.patience: gan_lab.training.checks.GradientCheck takes explosion",
            ),
        ],
        2,
    ),
)
def test_invalid_health_options_are_an_error(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_trainer(make_job(tmp_path, *overrides))


def trained(path: Path, *overrides: str) -> Trainer:
    """A run in this process, without its page."""
    trainer = build_trainer(make_job(path, *overrides))
    trainer.train()
    return trainer


# -- held-out images -------------------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """The logit is the mean of the image plus a tenth of the number of its label."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout, self.seen = nn.BatchNorm2d(1), nn.Dropout(0.5), []

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append((images.shape[-1], len(images)))
        recorded = 0.0 if labels is None else labels.argmax(1) / 10
        logits = self.dropout(self.norm(images)).mean((1, 2, 3)) + recorded
        return DiscriminatorOutput(logits, images.flatten(1), None)


class Black(nn.Module):
    """Images of -1, at the size it is given."""

    size = 4

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is None or len(labels) == len(latents)
        return torch.full((len(latents), 1, self.size, self.size), -1.0)


def gray_images(levels: list[int], labels: list[int] | None = None) -> ImageDataset:
    pixels = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 4, 1).contiguous().numpy()
    return ImageDataset.from_arrays(pixels, None if labels is None else torch.tensor(labels).numpy(), ("a", "b"))


def held_out(train: ImageDataset, others: ImageDataset, labels: Labels | NoLabels) -> tuple[OverfittingEstimate, Mean, Black]:
    discriminator, generator = Mean(), Black()
    discriminator.norm.train(False)
    game = GAN(generator, discriminator, NormalLatents(3), labels)
    return OverfittingEstimate(game, train, others, 2, 0, torch.device("cpu")), discriminator, generator


FULL = GrowthState(4, 1.0, 2, 1.0)


def test_overfitting_is_the_ratio_of_the_paper() -> None:
    """Means of D: training 0.2, held out -0.1, fakes -1: r_v = 0.3 / 1.2. BatchNorm divides all by sqrt(1 + 1e-5)."""
    measure, discriminator, _ = held_out(gray_images([0, 255, 204]), gray_images([0, 51, 255]), NoLabels())
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in discriminator.state_dict().items()}
    train, others = (-1 + 1 + 0.6) / 3, (-1 - 0.6 + 1) / 3
    assert measure(FULL)["d/overfitting"] == pytest.approx((train - others) / (train + 1), rel=1e-6)
    assert torch.equal(torch.get_rng_state(), before)
    assert discriminator.training and discriminator.dropout.training and not discriminator.norm.training, "as they were"
    assert all(torch.equal(value, state[name]) for name, value in discriminator.state_dict().items())
    assert discriminator.seen == [(4, 2), (4, 1)] * 3


def test_overfitting_of_a_conditional_gan_uses_the_label_of_each_image() -> None:
    """The same images, labels 0.1 apart: training (1, 1), held out (0, 0); fakes under the training labels."""
    train, others = gray_images([255, 255], [1, 1]), gray_images([255, 255], [0, 0])
    measure, _, _ = held_out(train, others, Labels(("a", "b"), torch.tensor([1, 1])))
    assert measure(FULL)["d/overfitting"] == pytest.approx(0.1 / 2, rel=1e-4)


def test_overfitting_is_undefined_if_the_discriminator_can_not_recognize_fakes() -> None:
    for levels in ([0, 0], [0, 255]):
        measure, discriminator, _ = held_out(gray_images(levels), gray_images([255, 255]), NoLabels())
        discriminator.norm.weight.data.fill_(0.0 if levels[1] else -1.0)
        assert measure(FULL) == {}
    measure, discriminator, _ = held_out(gray_images([255, 0]), gray_images([255, 255]), NoLabels())
    discriminator.norm.weight.data.fill_(math.nan)
    assert measure(FULL) == {} and NoOverfittingEstimate()(FULL) == {}


def test_overfitting_of_growing_networks_is_measured_at_their_resolution() -> None:
    measure, discriminator, generator = held_out(gray_images([0, 255]), gray_images([255, 0]), NoLabels())
    generator.size = 2
    assert measure(GrowthState(2, 0.5, 2, 1.0))["d/overfitting"] == pytest.approx(0.0)
    assert discriminator.seen == [(2, 2)] * 3


def test_held_out_images_are_those_outside_the_limit_or_the_local_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_job(tmp_path).cfg
    source = build_dataset(cfg)
    data = source.load()
    others = gan_lab.building.monitoring.find_held_out(cfg, source, data)
    assert others is not None and len(data) == 64 and len(others) == 10_000 - 64
    assert sorted([*data.index, *others.index]) == list(range(10_000))
    assert gan_lab.building.monitoring.find_held_out(cfg, source, data.excluded()) is None, "no limit, and no test split"
    mnist = make_job(tmp_path, "dataset=mnist", f"paths.data={tmp_path}/data", "dataset.limit=null").cfg
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.fail("something was downloaded"))
    assert gan_lab.building.monitoring.find_held_out(mnist, build_dataset(mnist), data.excluded()) is None
    assert not (tmp_path / "data" / "MNIST").exists()


def test_a_local_test_split_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, object]] = []

    class Split:
        def load(self) -> ImageDataset:
            return gray_images([1, 2, 3], [0, -1, 1])

    def instantiate(node: object, where: str, **more: object) -> Split:
        asked.append(more)
        return Split()

    monkeypatch.setattr(gan_lab.building.monitoring, "instantiate", instantiate)
    cfg = make_job(tmp_path, "dataset=mnist", "conditioning=projection").cfg
    others = gan_lab.building.monitoring.find_held_out(cfg, build_dataset(cfg), gray_images([0, 0]))
    assert asked == [{"split": "test", "limit": None, "download": False}]
    assert others is not None and others.index.tolist() == [0, 2], "an unlabelled image can't be judged by class"


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        ["model=sngan", "conditioning=projection", "augment=ada"],
        ["model=dcgan_cifar", "precision=bf16", "loss=relativistic"],
        ["model=progan_small", "model.channel_base=16", "batch_size=8", "epochs=2"],
    ],
    ids=["spectral-norm-labels-and-augmentation", "batch-norm-and-dropout", "growing"],
)
def test_monitoring_does_not_change_the_training(tmp_path: Path, extra: list[str]) -> None:
    runs = [trained(tmp_path / choice, *extra, f"health={choice}") for choice in ("watch", "none")]
    rows = runs[0].records.directory.history()
    recorded = [row.pop("d/overfitting") for row in rows if "d/overfitting" in row]
    assert recorded and all(map(math.isfinite, recorded)), "only the monitored run measures overfitting"
    monitored, plain = (checkpoint.load(run.records.directory.checkpoint("last")) for run in runs)
    for key in ("generator", "discriminator", "generator_ema", "phases", "rng_states", "augment"):
        torch.testing.assert_close(monitored[key], plain[key], rtol=0, atol=0)
    assert all(not row.keys() & {"health/gradients", "health/divergence"} for row in rows)
    untimed = [
        [{k: v for k, v in r.items() if k[:4] not in ("time", "memo", "seco")} for r in h]
        for h in (rows, runs[1].records.directory.history())
    ]
    assert untimed[0] == untimed[1]


# -- real commands -----------------------------------------------------------------------------------------------------------

RISING = ["health.divergence.factor=0.001", "console=plain"]
"""Every evaluation after the first is a divergence; with patience 2 the alarm comes at the second, 128 images."""


@pytest.mark.slow
def test_an_alarm_is_reported_everywhere_and_training_continues(tmp_path: Path) -> None:
    done = train(*RISING, "epochs=3", "tracker=[wandb,tensorboard]", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0 and "left out" not in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("ALARM divergence at 128 images: fd_") == 1
    run = RunDirectory(tmp_path / "run")
    assert [(row["images"], row["health/divergence"]) for row in run.history() if "health/divergence" in row] == [(128, 1.0)]
    (alarm,) = run.read_summary()["alarms"]
    assert (alarm["alarm"], alarm["images"], alarm["over"]) == ("divergence", 128, None) and "above 0.001 times" in alarm[
        "text"
    ]
    assert run.read_summary()["status"] == "finished"
    (offline,) = (tmp_path / "run" / "wandb").rglob("*.wandb")
    assert alarm["text"].encode() in offline.read_bytes()
    (board,) = (tmp_path / "run" / "tensorboard").glob("events*")
    assert alarm["text"].encode() in board.read_bytes() and b"alarm/divergence" in board.read_bytes()


@pytest.mark.slow
def test_an_alarm_can_end_a_run_which_can_be_resumed(tmp_path: Path) -> None:
    arguments = [*RISING, "epochs=4", "sample.every_kimg=1", "checkpoint.every_kimg=1"]
    done = train(*arguments, "health.stop_at=[divergence]", "objective=epoch_seconds", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "early_stopped at 128 images" in done.stdout and "the alarm was divergence at 128 images" in done.stdout
    assert "resume=run 'health.stop_at=[]'" in done.stdout
    run = RunDirectory(tmp_path / "run")
    assert (run.read_summary()["status"], run.read_summary()["final"]["images"]) == ("early_stopped", 128)
    assert run.sample_grid(128).read_bytes() == run.final.read_bytes(), "the end writes samples and a checkpoint"
    assert checkpoint.load(run.checkpoint("last"))["images"] == 128
    done = run_module("train", "resume=run", "health.stop_at=[]", cwd=tmp_path)
    assert done.returncode == 0 and "ALARM" not in done.stdout, "it lasts: " + done.stdout + done.stderr
    assert run.read_summary()["status"] == "finished" and len(run.read_summary()["alarms"]) == 1
    whole = trained(tmp_path / "whole", *arguments)
    whole.records.directory.sample_grid(128).unlink(missing_ok=True)
    assert_same(whole.records.directory, run)


def test_a_run_that_rolls_back_ends_at_its_best_checkpoint(tmp_path: Path) -> None:
    """A rate so high that every evaluation after the first trained one is worse."""
    rising = ["epochs=6", "optimizer.lr=0.1", "health.divergence.factor=1"]
    trainer = trained(tmp_path, *rising, "health.stop_at=[divergence]", "health.restore_best=true")
    summary = trainer.records.directory.read_summary()
    (alarm,) = summary["alarms"]
    assert summary["status"] == "early_stopped" and summary["images"] < alarm["images"] < trainer.progress.total_images
    run = trainer.records.directory
    assert summary["final"] == summary["best"] and summary["final"]["images"] == summary["images"]
    last, best = (checkpoint.load(run.checkpoint(which)) for which in ("last", "best"))
    for key in ("generator", "discriminator", "generator_ema", "phases", "rng_states", "images"):
        torch.testing.assert_close(last[key], best[key], rtol=0, atol=0)
    assert max(row["images"] for row in run.history()) == summary["images"]
    assert max(run.sample_grids()) == run.sample_grid(summary["images"])
    assert run.final.read_bytes() == run.sample_grid(summary["images"]).read_bytes()
