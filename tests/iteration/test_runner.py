"""A captured training equals the eager one, bit for bit, and what can't be recorded goes on eagerly.

:class:`recorded_operations.RecordedOperations` takes the place of CUDA graphs: what would go wrong in a replay because Python
keeps a value that changes, or because a tensor has been replaced by another, goes wrong there as well.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import UPSCALER, make_job
from recorded_operations import RecordedOperations

from gan_lab.building.compute import why_not_captured
from gan_lab.building.trainer import build_trainer
from gan_lab.iteration.capturable_optimizer import make_capturable, why_not_capturable
from gan_lab.losses.content import PerceptualLoss
from gan_lab.metrics.perceptual_networks import RandomPerceptual
from gan_lab.training.callbacks import Callbacks
from gan_lab.training.trainer import Trainer

SMALL = ["model.width=4", "dataset.limit=256", "dataset.size=16", "batch_size=8", "evaluation=none", "epochs=4"]
CPU = torch.device("cpu")


def tensors(values: Any) -> dict[str, torch.Tensor]:
    """All tensors of nested state, by path."""
    if isinstance(values, torch.Tensor):
        return {"": values}
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list | tuple) else ()
    return {f"{key}.{path}": tensor for key, value in items for path, tensor in tensors(value).items()}


def make_trainer(
    folder: Path, *overrides: str, capture: RecordedOperations | None = None, small: Sequence[str] = SMALL
) -> Trainer:
    trainer = build_trainer(make_job(folder, *small, *overrides))
    trainer.callbacks = Callbacks({}, end=sys.maxsize)
    for phase in trainer.updater.all_phases:
        make_capturable(phase.optimizer, CPU)
    if capture is not None:
        trainer.updater.capture(capture)
    return trainer


def train(trainer: Trainer, steps: int) -> None:
    state_at = trainer.updater.growth.state_at
    batches = trainer.loader.batches(trainer.progress.images, lambda images: state_at(images).batch_size)
    for _ in range(steps):
        trainer.step(next(batches))


def assert_same_state(one: Trainer, other: Trainer) -> None:
    expected, got = tensors(one.updater.state_dict()), tensors(other.updater.state_dict())
    assert expected.keys() == got.keys()
    different = [name for name, value in expected.items() if not torch.equal(value, got[name])]
    assert not different, different[:5]
    metrics = [trainer.updater.averager.read(trainer.processes) for trainer in (one, other)]
    assert metrics[0] == metrics[1]


PROJECTED = ["model=fastgan_projected_small", "model.discriminator.width=4", "model.discriminator.resize=32"]

RECIPES = [
    pytest.param(["model=dcgan"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan", "reuse_fakes=false", "schedule=linear", "ema=none"], marks=pytest.mark.slow),
    ["model=dcgan", "n_critic=2", "loss=wasserstein", "penalty=gradient_penalty", "schedule=cosine"],
    pytest.param(
        ["model=dcgan", "loss=wasserstein", "penalty=weight_clipping", "optimizer=sgd", "optimizer.fused=true"],
        marks=pytest.mark.slow,
    ),
    ["model=dcgan", "augment=ada", "augment.ada.interval=2", "augment.ada.kimg=0.1"],
    pytest.param(["model=dcgan", "augment=diffaugment", "conditioning=auxiliary_classifier"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan", "augment=instance_noise", "loss=relativistic", "max_grad_norm=1.0"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan", "loss=minimax", "penalty=dragan", "gradient_accumulation_steps=2"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan", "loss=relativistic", "reuse_fakes=false", "reuse_reals=false"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan_cifar", "loss=hinge", "schedule=steps"], marks=pytest.mark.slow),
    pytest.param(
        ["model=sngan", "penalty=r1", "penalty.discriminator.r1.interval=3", "schedule=linear"], marks=pytest.mark.slow
    ),
    pytest.param(["model=sngan", "conditioning=projection", "loss=lsgan", "optimizer=adamw"], marks=pytest.mark.slow),
    pytest.param(
        [
            "model=sagan",
            "model.attention=8",
            "penalty=r1_r2",
            "loss=relativistic_average",
            "conditioning=conditional_batch_norm",
        ],
        marks=pytest.mark.slow,
    ),
    pytest.param(["model=r3gan_small", "conditioning=embedding", "penalty=none"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan", "precision=bf16", "penalty=r1"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan", "precision=fp16", "penalty=gradient_penalty"], marks=pytest.mark.slow),
    pytest.param(["model=dcgan", "precision=int16"], marks=pytest.mark.slow),
    ["model=stylegan2_small", "augment=ada", "conditioning=projection"],
    pytest.param(
        [*PROJECTED, "augment=[blur,diffaugment]", "augment.blur.until=0.5", "conditioning=projection"], marks=pytest.mark.slow
    ),
    ["model=progan_small", "epochs=2", "schedule=linear", "model.growth.max_batch_size=8"],
    [
        *("model=dcgan", "penalty=r1_r2", "augment=ada", "augment.ada.target=null", "gradient_accumulation_steps=2"),
        *("+schedule.of.penalty.gamma.to=1", "+schedule.of.optimizer.lr.to=1e-5", "+schedule.of.ema.kimg={from: 0, to: 1}"),
        *("+schedule.of.optimizer.betas.to=[0.0,0.9]", "+schedule.of.augment.ada.p={to: 0.5, kimg: 0.05}"),
    ],
    pytest.param(["model=progan_small", "epochs=2", "precision=bf16", "model.growth.max_batch_size=8"], marks=pytest.mark.slow),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: " ".join(recipe))
def test_replayed_iterations_equal_eager_ones(tmp_path: Path, recipe: list[str]) -> None:
    recorder = RecordedOperations()
    eager = make_trainer(tmp_path / "eager", *recipe)
    captured = make_trainer(tmp_path / "captured", *recipe, capture=recorder)
    steps = 64 if "progan" in recipe[0] else 16
    seed = torch.get_rng_state()
    train(eager, steps)
    torch.set_rng_state(seed)
    train(captured, steps)
    assert recorder.recordings >= (5 if "progan" in recipe[0] else 1), "each set of layers is recorded"
    assert_same_state(eager, captured)


def test_super_resolution_is_captured_from_its_first_stage_on(tmp_path: Path, photographs: Path) -> None:
    small = [o for o in UPSCALER if not o.startswith("evaluation.")]
    small += [f"dataset.path={photographs / 'pictures'}", "evaluation=none", "schedule=linear"]
    recorder = RecordedOperations()
    eager = make_trainer(tmp_path / "eager", small=small)
    captured = make_trainer(tmp_path / "captured", small=small, capture=recorder)
    seed = torch.get_rng_state()
    train(eager, 20)
    torch.set_rng_state(seed)
    train(captured, 20)
    assert recorder.recordings == 2, "pretraining and adversarial training"
    assert_same_state(eager, captured)


@pytest.mark.slow
def test_a_resume_continues_in_either_mode_from_either_mode(tmp_path: Path) -> None:
    recipe = ["model=dcgan", "augment=ada", "schedule=linear", "penalty=r1", "penalty.discriminator.r1.interval=2"]

    def train_and_resume(first: bool, second: bool) -> Trainer:
        folder = tmp_path / f"{first}-{second}"
        trainer = make_trainer(folder, *recipe, capture=RecordedOperations() if first else None)
        train(trainer, 9)
        state = copy.deepcopy(trainer.checkpointer.state())
        trainer = make_trainer(folder, *recipe, capture=RecordedOperations() if second else None)
        trainer.checkpointer.restore(state)
        train(trainer, 9)
        return trainer

    whole = make_trainer(tmp_path / "whole", *recipe)
    train(whole, 18)
    for modes in [(True, True), (True, False), (False, True)]:
        resumed = train_and_resume(*modes)
        expected, got = tensors(whole.updater.state_dict()), tensors(resumed.updater.state_dict())
        assert all(torch.equal(value, got[name]) for name, value in expected.items())


def test_going_back_to_a_checkpoint_records_again(tmp_path: Path) -> None:
    """A restored optimizer has other tensors than those that were recorded."""
    recorder = RecordedOperations()
    trainer = make_trainer(tmp_path, "model=dcgan", capture=recorder)
    train(trainer, 6)
    state = copy.deepcopy(trainer.checkpointer.state())
    train(trainer, 6)
    first = copy.deepcopy(trainer.updater.state_dict())
    recordings = recorder.recordings
    trainer.checkpointer.restore(state)
    train(trainer, 6)
    assert recorder.recordings == recordings + 1
    assert all(torch.equal(value, tensors(first)[name]) for name, value in tensors(trainer.updater.state_dict()).items())


class FailingRecorder(RecordedOperations):
    """Undoes the operations of a recording that fails: CUDA would not have run them."""

    trainer: Trainer

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        held = tensors(self.trainer.updater.state_dict())
        saved, rng = {name: tensor.clone() for name, tensor in held.items()}, self.trainer.updater.gan.rng
        states = torch.get_rng_state(), rng.get_state()
        try:
            return super().record(work)
        except RuntimeError:
            for name, tensor in held.items():
                tensor.copy_(saved[name])
            torch.set_rng_state(states[0])
            rng.set_state(states[1])
            raise


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_an_iteration_that_cannot_be_recorded_runs_eagerly(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = ["model=dcgan", f"precision={precision}", "augment=ada", "gradient_accumulation_steps=2"]
    eager, recorder = make_trainer(tmp_path / "eager", *recipe), FailingRecorder()
    captured = recorder.trainer = make_trainer(tmp_path / "captured", *recipe, capture=recorder)
    phase = captured.updater.phases[1]
    clip = phase._clip_gradient

    def clip_and_wait() -> torch.Tensor:
        norm = clip()  # unscales the gradients: the scaler's state on the host has changed
        float(norm)
        return norm

    monkeypatch.setattr(phase, "_clip_gradient", clip_and_wait)
    seed = torch.get_rng_state()
    train(eager, 8)
    torch.set_rng_state(seed)
    with caplog.at_level(logging.WARNING):
        train(captured, 8)
    (message,) = [record.getMessage() for record in caplog.records if "capture" in record.getMessage()]
    assert message.startswith("capture: iterations run eagerly from here on") and "_local_scalar_dense" in message
    assert_same_state(eager, captured)


class FailingBackward(torch.autograd.Function):
    """The identity, without a gradient."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no kernel for this backward pass\nand a second line")


@pytest.mark.parametrize("passes", ["forward", "backward"])
def test_a_network_that_cannot_be_compiled_trains_uncompiled(
    tmp_path: Path, passes: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where compiling fails in the backward pass, after the discriminator has been updated."""

    def compile_badly(network: torch.nn.Module) -> Any:
        def forward(*args: Any) -> torch.Tensor:
            images = network(*args)
            if passes == "forward":
                raise NotImplementedError("no kernel for this forward pass")
            return FailingBackward.apply(images)

        return forward

    monkeypatch.setattr(torch, "compile", compile_badly)
    recipe = ["model=dcgan", "augment=ada", "penalty=r1"]
    seed = torch.get_rng_state()
    eager = make_trainer(tmp_path / "eager", *recipe)
    torch.set_rng_state(seed)
    train(eager, 4)
    compiled = make_trainer(tmp_path / "compiled", *recipe, "compile=generator")
    torch.set_rng_state(seed)
    with caplog.at_level(logging.WARNING):
        train(compiled, 4)
    (message,) = [record.getMessage() for record in caplog.records if "compile" in record.getMessage()]
    assert message.endswith(f"an iteration failed (no kernel for this {passes} pass)")
    assert_same_state(eager, compiled)


def test_an_optimizer_says_why_it_cannot_be_captured() -> None:
    weight = [torch.nn.Parameter(torch.zeros(1))]
    assert not why_not_capturable(torch.optim.Adam(weight, fused=True))
    assert not why_not_capturable(torch.optim.RMSprop(weight))
    assert "optimizer.fused=true" in why_not_capturable(torch.optim.SGD(weight))
    assert not why_not_capturable(torch.optim.SGD(weight, fused=True))


def test_a_perceptual_loss_that_shifts_images_at_random_runs_eagerly(tmp_path: Path) -> None:
    """The shift is drawn on the host: a replayed iteration would repeat the recorded one."""
    overrides = ["model=dcgan", "model.width=4", "evaluation=none"]
    trainer = build_trainer(make_job(tmp_path, *overrides))
    updater = trainer.updater
    network = RandomPerceptual(width=4, seed=0)
    cfg = make_job(tmp_path, *overrides).cfg
    for jitter, reason in ((0, ""), (15, "the loss term perceptual draws random numbers on the host")):
        network.jitter = jitter
        updater.phases[1].terms["perceptual"] = PerceptualLoss(network)
        assert why_not_captured(cfg, updater.gan, updater.all_phases) == reason
