"""``schedule.of``: values against closed forms, the optimizer against PyTorch's, and real runs that obey, resume and refuse."""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path

import pytest
import torch
from helpers import SMALL, every_nth, make_job, run_module
from torch import nn

from gan_lab.building.trainer import build_trainer
from gan_lab.iteration.capturable_optimizer import AdamWithTensorBetas
from gan_lab.iteration.ema import ExponentialMovingAverage
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.callbacks import Callbacks


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_with_tensor_betas_equals_pytorchs_while_the_betas_change(
    optimizer: type[torch.optim.Adam], weight_decay: float
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    copied = copy.deepcopy(network)
    expected = optimizer(network.parameters(), lr=0.01, betas=(0.5, 0.9), weight_decay=weight_decay)
    ours = AdamWithTensorBetas(optimizer(copied.parameters(), lr=0.01, betas=(0.5, 0.9), weight_decay=weight_decay))
    for n in range(20):
        betas = (0.5 - 0.025 * n, 0.9 + 0.004 * n)  # beta1 reaches 0.025; 0 at the end
        betas = (0.0, betas[1]) if n == 19 else betas
        expected.param_groups[0]["betas"] = betas
        for tensor, beta in zip(ours.param_groups[0]["betas"], betas, strict=True):
            tensor.fill_(beta)
        inputs = torch.randn(5, 3, dtype=torch.float64)
        for model, optimizer_ in ((network, expected), (copied, ours)):
            optimizer_.zero_grad()
            model(inputs).square().mean().backward()
            if n == 3:
                next(model.parameters()).grad = None  # is skipped, and has fewer steps from then on
            optimizer_.step()
    for one, other in zip(network.parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)  # betas are float32


def test_a_half_life_of_zero_copies_the_generator() -> None:
    generator = nn.Linear(2, 2)
    average = ExponentialMovingAverage(generator, kimg=10.0, rampup=None)
    with torch.no_grad():
        generator.weight.add_(1)
    average.set_halflife(0.0)
    average.set_progress(images=10, batch=10)
    average.update()
    torch.testing.assert_close(average.network.weight, generator.weight)
    with torch.no_grad():
        generator.weight.add_(1)
    average.set_halflife(0.02)
    average.set_progress(images=20, batch=20)
    average.update()
    torch.testing.assert_close(average.network.weight, generator.weight - 0.5)


def test_every_kind_of_value_follows_its_curve(tmp_path: Path) -> None:
    job = make_job(
        tmp_path,
        *SMALL,
        *("epochs=1", "penalty=r1", "penalty.interval=4", "augment=ada", "augment.ada.target=null", "optimizer=adam_ttur"),
        *("+schedule.of.penalty.gamma={from: 2, to: 1}", "+schedule.of.optimizer.lr={from: 1e-3, to: 0, curve: linear}"),
        *("+schedule.of.augment.ada.p.to=0.5", "+schedule.of.ema.kimg={from: 0, to: 4, kimg: 0.032}"),
        *("+schedule.of.loss.generator.hinge.weight.to=3", "+schedule.of.optimizer.generator.betas.to=[0.0,0.99]"),
    )
    trainer = build_trainer(job)
    trainer.callbacks = Callbacks({}, end=sys.maxsize)
    updater, main = trainer.updater, 4 / 5  # the fraction of updates that are not lazy
    for n, batch in zip(range(4), trainer.loader.batches(0, lambda images: 16), strict=False):
        trainer.step(batch)
        t = n / 4
        fall = (1 + math.cos(math.pi * t)) / 2
        discriminator, generator = updater.phases
        assert discriminator._weights["r1"] == pytest.approx(1 + fall)
        assert generator._weights["hinge"] == pytest.approx(3 - 2 * fall)
        rates = [phase.optimizer.param_groups[0]["lr"] for phase in (generator, discriminator)]
        assert rates == pytest.approx([1e-3 * (1 - t), 4e-3 * (1 - t) * main])
        assert [beta.item() for beta in generator.optimizer.param_groups[0]["betas"]] == pytest.approx([0, 0.99 - 0.09 * fall])
        assert updater.gan.augment.chain["ada"].p.item() == pytest.approx(0.5 - 0.5 * fall)
        assert updater.ema._halflife == pytest.approx(4000 * (1 - (1 + math.cos(math.pi * min(1, n / 2))) / 2))
    assert job.cfg.schedule.of.penalty.gamma.kimg == 0.064, "stored, so that a longer resume keeps the curve"
    logged = {name: number for value in updater.scheduled for name, number in value.metrics().items()}
    assert logged["schedule/penalty.discriminator.r1.weight"] == pytest.approx(1 + (1 + math.cos(math.pi * 0.75)) / 2)
    assert "schedule/optimizer.generator.betas[0]" not in logged, "does not change"


def test_a_run_obeys_its_schedule_and_a_longer_resume_keeps_it(tmp_path: Path) -> None:
    arguments = [*SMALL, "console=plain", "penalty=r1_r2", "log.every_kimg=0.016", "evaluation=none", "hydra.run.dir=run"]
    done = run_module("train", *arguments, "schedule.of.penalty.gamma={from: 2, to: 1}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_module("train", "resume=run", "epochs=1.5", "schedule.of.penalty.gamma.to=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [row for row in RunDirectory(tmp_path / "run").history() if "d/r1" in row]
    for name in ("r1", "r2"):
        weights = [row[f"schedule/penalty.discriminator.{name}.weight"] for row in rows]
        expected = [1 + (1 + math.cos(math.pi * n / 4)) / 2 for n in range(4)] + [0, 0]
        assert weights == pytest.approx(expected), "the second command changed the end, not the length"
        for row, weight in zip(rows, weights, strict=True):
            assert row["d/loss"] == pytest.approx(row["d/hinge"] + weight * (row["d/r1"] + row["d/r2"]), rel=1e-5)


@pytest.mark.parametrize(
    ("override", "message"),
    every_nth(
        [
            ("schedule.of.penalty.gama.to=1", "schedule.of.penalty.gama: this configuration has no key penalty.gama"),
            ("schedule.of.penalty.gamma=1", "schedule.of.penalty.gamma=1: must hold from, to, kimg, curve, optional"),
            (
                "schedule.of.penalty.gamma={to: 1, end: 2}",
                "schedule.of.penalty.gamma.end: an entry holds from, to, kimg, curve",
            ),
            ("schedule.of.penalty.gamma.to=much", "10.0 and much must be numbers"),
            ("schedule.of.penalty.gamma.to=10", "which are equal; set penalty.gamma instead"),
            ("schedule.of.epochs.to=2", "no argument of an object depends on epochs"),
            (
                "schedule.of.model.width.to=8",
                "generator.width can't change during training; these can: optimizer.",
            ),
            ("schedule.of.augment.ada.p.to=1", "augment.ada.p can't change during training"),
            ("schedule.of.penalty.gamma={to: 1, kimg: 0}", "kimg=0: must be a positive number"),
            ("schedule.of.penalty.gamma={to: 1, kimg: long}", "kimg=long: must be a positive number"),
            ("schedule.of.penalty.gamma.to=inf", "weight to inf, which must lie in"),
            ("schedule.of.optimizer.lr.to=-1", "lr to -1, which must lie in [0, inf]"),
            ("schedule.of.optimizer.betas.to=[0.5,1.5]", "betas to 1.5, which must lie in [0, 1]"),
            ("schedule.of.ema.kimg.to=-1", "ema.kimg to -1, which must lie in [0, inf]"),
            ("schedule.of.penalty.gamma={to: 1, curve: round}", "curve=round: must be one of cosine, linear"),
            ("schedule.of.optimizer.betas.to=[0.5]", "must be numbers, or lists with equally many numbers"),
        ],
        2,
    ),
)
def test_what_can_not_be_scheduled_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        build_trainer(make_job(tmp_path, *SMALL, "penalty=r1", "augment=ada", f"+{override}"))


def test_betas_of_another_optimizer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="betas can be scheduled for Adam and AdamW"):
        build_trainer(
            make_job(tmp_path, *SMALL, "+optimizer.generator.amsgrad=true", "+schedule.of.optimizer.betas.to=[0,0.9]")
        )


def test_a_family_brings_its_schedules_for_the_keys_that_there_are(tmp_path: Path) -> None:
    small = [override for override in SMALL if not override.startswith("model.")]
    small += ["model=r3gan", "model.width=16", "model.channel_base=128", "dataset.size=16"]
    names = {name for value in build_trainer(make_job(tmp_path / "a", *small)).updater.scheduled for name in value.metrics()}
    assert {name.removeprefix("schedule/") for name in names} == {
        *(f"optimizer.{network}.{option}" for network in ("generator", "discriminator") for option in ("lr", "betas[1]")),
        *("penalty.discriminator.r1.weight", "penalty.discriminator.r2.weight", "ema.kimg"),
    }
    less = build_trainer(make_job(tmp_path / "b", *small, "optimizer=rmsprop", "penalty=none", "ema=none"))
    names = {name for value in less.updater.scheduled for name in value.metrics()}
    assert names == {"schedule/optimizer.generator.lr", "schedule/optimizer.discriminator.lr"}
