"""Precisions: float64 is used throughout, the emulation changes nothing else, and slow precisions are reported."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL, make_job, run_module
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gan_lab.benchmarks.precision import NetworkInputs, layer_values, relative_errors
from gan_lab.building.trainer import build_trainer
from gan_lab.iteration.fixed_point import FixedPoint
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.precision import Precision
from gan_lab.iteration.step_context import StepContext
from gan_lab.losses.base import LossTerm
from gan_lab.losses.penalties import GradientPenalty, R1Penalty, R2Penalty
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.latents import NormalLatents
from gan_lab.training.trainer import Trainer

CPU = torch.device("cpu")
TINY = ["dataset.size=16", "batch_size=4", "n_critic=1", "evaluation=none"]


def begin(path: Path, *overrides: str) -> Trainer:
    return build_trainer(make_job(path, *TINY, *overrides))


# -- double precision --------------------------------------------------------------------------------------------------


class Narrowed(TorchDispatchMode):
    """Collects where float64 becomes something smaller; what is drawn in float32 for every precision is left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor)]
        if (
            "rand" not in str(func)
            and isinstance(result, Tensor)
            and result.dtype in (torch.float32, torch.float16, torch.bfloat16)
        ):
            self.places += [f"{func} {tuple(result.shape)}" for value in given if value.dtype == torch.float64]
        return result


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        [
            "model=dcgan",
            "model.norm=none",
            "penalty=gradient_penalty",
            "conditioning=projection",
            "augment=[ada,instance_noise]",
        ],
        ["model=sngan", "loss=relativistic", "penalty=r1_r2", "conditioning=conditional_batch_norm"],
        ["model=dcgan_cifar", "loss=[bce,feature_matching]", "conditioning=auxiliary_classifier", "augment=diffaugment"],
        ["model=progan_small", "penalty=[dragan,drift]", "conditioning=concatenation"],
    ],
    ids=["gradient-penalty-ada", "spectral-norm-r1-r2", "dropout-diffaugment", "minibatch-deviation-dragan"],
)
def test_double_precision_is_double_throughout(overrides: list[str], tmp_path: Path) -> None:
    trainer = begin(tmp_path, "precision=fp64", *overrides)
    batch = next(trainer.loader.batches())
    assert batch.real.dtype == torch.float64
    with Narrowed() as narrowed:
        for phase in trainer.updater.phases:
            figures = phase.step(trainer.updater.gan, trainer.updater.growth_state.match_resolution(batch))
            assert figures[f"{phase.name}/loss"].dtype == torch.float64 and all(map(torch.isfinite, figures.values()))
    allowed = {"()"}  # the discriminator's sign that ADA counts, once a batch
    assert {place.split(" ", 1)[1] for place in narrowed.places} <= allowed, narrowed.places
    for phase in trainer.updater.phases:
        assert all(
            parameter.grad.dtype == torch.float64 for parameter in phase.network.parameters() if parameter.grad is not None
        )
        state = [value for each in phase.optimizer.state.values() for name, value in each.items() if name != "step"]
        assert state and all(value.dtype == torch.float64 for value in state if isinstance(value, Tensor))
    samples, _ = trainer.records.sampler.sample(4, torch.Generator().manual_seed(0))
    assert samples.dtype == torch.uint8 and len(samples.unique()) > 1


class Linear(nn.Module):
    """``w . x``, whose gradient with respect to every image is ``w``."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        flat = images.flatten(1)
        return DiscriminatorOutput(flat @ self.weight, flat)


@pytest.mark.parametrize(
    ("term", "value", "slope"),
    [
        (R1Penalty(), lambda w: w.norm() ** 2 / 2, lambda w: w),
        (R2Penalty(), lambda w: w.norm() ** 2 / 2, lambda w: w),
        (GradientPenalty(), lambda w: (w.norm() - 1) ** 2, lambda w: 2 * (w.norm() - 1) * w / w.norm()),
    ],
    ids=["r1", "r2", "gradient_penalty"],
)
def test_penalties_in_double_precision_equal_their_closed_forms(term: LossTerm, value: Callable, slope: Callable) -> None:
    weight = torch.randn(12, dtype=torch.float64)
    images = torch.randn(2, 5, 3, 2, 2, dtype=torch.float64)
    gan = GAN(lambda latents, labels: images[1], Linear(weight.clone()), NormalLatents(4))  # type: ignore[arg-type]
    context = StepContext(gan, images[0], torch.zeros(5, 4), generator_step=False, needs_gradient_of=term.needs_gradient_of)
    with Precision(CPU, param_dtype="float64").autocast():
        result = term(context)
    (gradient,) = torch.autograd.grad(result, gan.discriminator.weight)
    torch.testing.assert_close((result, gradient), (value(weight), slope(weight)), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp64", "int16"])
def test_all_commands_work_with_such_a_run(precision: str, tmp_path: Path) -> None:
    more = [f"precision={precision}", "conditioning=projection", "augment=ada", "hydra.run.dir=run"]
    commands = [
        ("train", *SMALL, *more),
        ("train", "resume=run", "epochs=2"),
        ("sample", "run=run", "count=4", "standing_statistics=2"),
        ("evaluate", "run=run"),
    ]
    for module, *arguments in commands:
        done = run_module(module, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "precision:" in (tmp_path / "run" / "train.log").read_text()


# -- fixed point -------------------------------------------------------------------------------------------------------


def go_on(trainer: Trainer, steps: int) -> Trainer:
    for batch in itertools.islice(trainer.loader.batches(trainer.progress.images), steps):
        trainer.step(batch)
    return trainer


def test_a_resumed_run_in_fixed_point_is_bit_identical(tmp_path: Path) -> None:
    chosen = ["precision=int16", "penalty=r1", "augment=ada"]
    whole = go_on(begin(tmp_path / "whole", *chosen), 2)
    torch.save(whole.checkpointer.state(), tmp_path / "state.pt")
    go_on(whole, 2)
    resumed = begin(tmp_path / "second", *chosen)
    torch.rand(7)  # whatever came between
    resumed.checkpointer.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    go_on(resumed, 2)
    for name in ("generator", "discriminator"):
        states = (getattr(trainer.updater.gan, name).state_dict() for trainer in (whole, resumed))
        torch.testing.assert_close(*states, rtol=0, atol=0)
    one, other = (trainer.updater.phases[0].precision.state_dict()["random"] for trainer in (whole, resumed))
    assert torch.equal(one, other)


def test_emulation_changes_neither_other_random_numbers_nor_the_weights(tmp_path: Path) -> None:
    trainers = {name: begin(tmp_path / name, f"precision={name}", "augment=[ada,diffaugment]") for name in ("fp32", "int16")}
    numbers = {}
    for name, trainer in trainers.items():
        torch.manual_seed(0)
        go_on(trainer, 2)
        numbers[name] = (torch.get_rng_state(), trainer.updater.gan.rng.get_state())
    torch.testing.assert_close(numbers["int16"], numbers["fp32"], rtol=0, atol=0)

    gan, fixed = trainers["int16"].updater.gan, trainers["int16"].updater.phases[0].precision.rounding
    weights = [parameter.detach().clone() for parameter in gan.generator.parameters()]
    assert any(not torch.equal(fixed.round_nearest(weight), weight) for weight in weights), "the updates are added to float32"
    with fixed(CPU):
        gan.generator(torch.randn(4, 100)).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(weights, gan.generator.parameters(), strict=True))


# -- warnings ------------------------------------------------------------------------------------------------------------


def test_a_slower_precision_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def warning_of(precision: Precision, times: float) -> str:
        monkeypatch.setattr(Precision, "_slower_than_float32", lambda self, captured: times)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            precision.warn_if_slow()
        return caplog.text

    bf16 = Precision(CPU, autocast="bfloat16")
    assert "bfloat16 takes 1.3 times as long as fp32" in warning_of(bf16, 1.3)
    assert warning_of(bf16, 1.1) == warning_of(Precision(CPU), 9.0) == ""
    assert "emulated, which is slower" in warning_of(Precision(CPU, rounding=FixedPoint(16, 0)), 1.0)
    assert "a reference for other precisions" in warning_of(Precision(CPU, param_dtype="float64"), 1.0)


def test_the_trial_times_both_formats() -> None:
    assert 0.01 < Precision(CPU, autocast="bfloat16")._slower_than_float32(captured=False) < 1000


# -- the benchmark -----------------------------------------------------------------------------------------------------


def test_errors_are_those_of_the_format_alone(tmp_path: Path) -> None:
    """Not of what layers remember (spectral normalization), nor of numbers that are drawn otherwise in double precision."""
    overrides = ["model=sngan", "loss=hinge", "augment=diffaugment", "penalty=dragan"]
    trainers = {name: begin(tmp_path / name, f"precision={name}", *overrides) for name in ("fp64", "fp32")}
    inputs = NetworkInputs.of(trainers["fp64"])
    right, single = (layer_values(trainer, inputs) for trainer in trainers.values())
    errors = relative_errors({"again": layer_values(trainers["fp64"], inputs), "fp32": single}, right)
    assert all(error["again"] == 0 < error["fp32"] < 1e-4 for what, error in errors.items() if "bias" not in what), errors
    assert any("gradient of" in what for what in errors)
    assert all(module.training for module in trainers["fp64"].updater.gan.discriminator.modules())


def test_a_gradient_that_underflows_is_wrong_by_one() -> None:
    right = {"d: gradient of weight": torch.ones(3, dtype=torch.float64)}
    assert relative_errors({"fp16": {}}, right) == {"d: gradient of weight": {"fp16": 1.0}}
