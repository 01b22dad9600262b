"""Fixed-point rounding compared with NumPy, and training with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_job
from torch import Tensor, nn
from torch.nn import functional

from gan_lab.building.precision import build_precision
from gan_lab.building.trainer import build_trainer
from gan_lab.iteration.fixed_point import FixedPoint, StraightThroughRound
from gan_lab.iteration.step_context import StepContext
from gan_lab.losses.penalties import R1Penalty

CPU = torch.device("cpu")


def reference(values: np.ndarray, bits: int = 16) -> np.ndarray:
    """In double precision, by the words of the definition: the smallest of all scales with which the largest value fits."""
    values, most = values.astype(np.float64), 2 ** (bits - 1) - 1
    scale = next(2.0**n for n in range(-126, 128) if np.abs(values).max() <= most * 2.0**n)
    return np.round(values / scale) * scale


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=1000),
        np.array([1.0, 0.5, -1.0, 2.0**-15, 3 * 2.0**-16, 2.0**-16]),  # ties
        np.array([32767.0, -32767.0, 0.5, 1.5, 2.5]),
        np.array([32767.25, 0.5, 1.5, 2.5]),  # takes the next scale, as it would otherwise have to be cut off
        np.array([-32768.0, 1.0, 3.0]),
        np.array([65535.0, -65536.0, 1.0, 3.0]),
        np.array([1e30, 1e20, -1e25]),
        np.array([3e38, -1e36, 1e30]),
        np.array([1e-36, -3e-37, 0.0]),
        np.array([1e-42, 0.0]),
        np.zeros(3),
        np.array([7.0]),
    ],
)
@pytest.mark.parametrize("bits", [16, 8])
def test_rounding_follows_the_definition(values: np.ndarray, bits: int) -> None:
    given = values.astype(np.float32)
    rounded = FixedPoint(bits, 0).round_nearest(torch.from_numpy(given))
    assert rounded.dtype == torch.float32
    np.testing.assert_array_equal(rounded.double().numpy(), reference(given, bits).astype(np.float32).astype(np.float64))


def test_values_that_are_not_finite_stay_visible() -> None:
    for odd in (float("inf"), float("nan")):
        for rounded in (FixedPoint(16, 0).round_nearest, FixedPoint(16, 0).round_stochastic):
            assert not rounded(torch.tensor([1.0, odd]))[1].isfinite()


def test_zeros_and_empty_tensors_stay() -> None:
    for shape in ((), (0, 3), (2, 3)):
        zeros = torch.zeros(shape)
        for rounded in (FixedPoint(16, 0).round_nearest(zeros), FixedPoint(16, 0).round_stochastic(zeros)):
            assert torch.equal(rounded, zeros)


@pytest.mark.parametrize("bits", [8, 16, 22])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.75])
@pytest.mark.parametrize("place", ["middle", "top"])
def test_stochastic_rounding_is_unbiased(bits: int, fraction: float, place: str) -> None:
    """Near the top float32 has few bits left for what is below 1: a sum with the random number would be rounded."""
    most = 2.0 ** (bits - 1) - 1
    values = torch.full((200_000,), (most - 1 if place == "top" else 3.0) + fraction)
    values[0] = most  # so that the scale is 1
    fixed = FixedPoint(bits, 0)
    rounded, wanted = fixed.round_stochastic(values)[1:].double(), float(values[1])
    assert set(rounded.tolist()) <= {np.floor(wanted), np.ceil(wanted)}
    assert abs(float(rounded.mean()) - wanted) <= 5 * 0.5 / len(rounded) ** 0.5  # five standard errors at most
    assert wanted == round(wanted) or not torch.equal(fixed.round_stochastic(values)[1:].double(), rounded)


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda a, b: functional.linear(a, b.T),
    "nn.Linear": lambda a, b: torch.func.functional_call(nn.Linear(4, 3, bias=False), {"weight": b.T}, a),
    "@": lambda a, b: a @ b,
    "matmul": torch.matmul,
    "method matmul": lambda a, b: a.matmul(b),
    "mm": torch.mm,
    "method mm": lambda a, b: a.mm(b),
    "bmm": lambda a, b: torch.bmm(a[None], b[None])[0],
    "addmm": lambda a, b: torch.addmm(torch.zeros(5, 3), a, b),
    "baddbmm": lambda a, b: torch.baddbmm(torch.zeros(1, 5, 3), a[None], b[None])[0],
    "method bmm": lambda a, b: a[None].bmm(b[None])[0],
    "method addmm": lambda a, b: torch.zeros(5, 3).addmm(a, b),
    "mv": lambda a, b: torch.stack([torch.mv(a, column) for column in b.T], 1),
    "inner": lambda a, b: torch.inner(a, b.T),
    "tensordot": lambda a, b: torch.tensordot(a, b, 1),
    "linalg.matmul": torch.linalg.matmul,
    "bilinear": lambda a, b: functional.bilinear(a, torch.ones(5, 1), b.T[:, :, None]),
    "reflected @": lambda a, b: b.__rmatmul__(a),
    "weight normalized": lambda a, b: _normalized(b)(a),
    "einsum": lambda a, b: torch.einsum("ij,jk->ik", a, b),
    "conv2d": lambda a, b: functional.conv2d(a[:, :, None, None], b.T[:, :, None, None])[:, :, 0, 0],
    "nn.Conv2d": lambda a, b: torch.func.functional_call(
        nn.Conv2d(4, 3, 1, bias=False), {"weight": b.T[:, :, None, None]}, a[:, :, None, None]
    )[:, :, 0, 0],
    "conv_transpose2d": lambda a, b: functional.conv_transpose2d(a[:, :, None, None], b[:, :, None, None])[:, :, 0, 0],
}


def _normalized(b: Tensor) -> nn.Linear:
    """A layer whose weight is computed at each use."""
    layer = nn.Linear(4, 3, bias=False)
    layer.weight.data.copy_(b.T)
    return nn.utils.parametrizations.weight_norm(layer)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_rounded_under_each_name(name: str) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 4), torch.randn(4, 3)
    with FixedPoint(6, 0)(CPU):
        low = PRODUCTS[name](a, b).detach()
        with torch.autocast("cpu", enabled=False):
            full = PRODUCTS[name](a, b)
    exact = a.double() @ b.double()
    rounded = torch.from_numpy(reference(a.numpy(), 6)) @ torch.from_numpy(reference(b.numpy(), 6))
    columns = torch.unbind(rounded, 1) if name == "mv" else [rounded]  # a product each
    wanted = np.stack([reference(column.numpy(), 6) for column in columns], 1).reshape(5, 3)
    np.testing.assert_allclose(low.double().numpy(), wanted, atol=1e-6)
    assert (low - exact).abs().max() > 1e-2
    torch.testing.assert_close(full.double(), exact, rtol=0, atol=1e-5)


def test_out_tensors_are_written() -> None:
    a, b, out = torch.randn(5, 4), torch.randn(4, 3), torch.full((5, 3), torch.nan)
    with FixedPoint(6, 0)(CPU):
        torch.mm(a, b, out=out)
    torch.testing.assert_close(out, a @ b)


def test_gradients_are_rounded_and_differentiable() -> None:
    fixed = FixedPoint(16, 0)
    weight = torch.randn(3, 4, requires_grad=True)
    values = torch.randn(5, 4, requires_grad=True)
    with fixed(CPU):
        out = functional.linear(values, weight)
        (slope,) = torch.autograd.grad(out.square().sum(), values, create_graph=True)
    slope.square().sum().backward()
    by_hand = weight.detach().double().requires_grad_()
    exact = 2 * (values.detach().double() @ by_hand.T) @ by_hand
    exact.square().sum().backward()
    assert (slope.detach().double() - exact.detach()).norm() < 1e-3 * exact.norm()
    assert weight.grad is not None
    assert (weight.grad.double() - by_hand.grad).norm() < 1e-3 * by_hand.grad.norm()
    assert StraightThroughRound.apply(weight, fixed, False).dtype == torch.float32


def test_a_penalty_in_double_precision_is_exact(tmp_path: Path) -> None:
    """R1's gradient with respect to a weight against a finite difference."""
    trainer = build_trainer(make_job(tmp_path, "precision=fp64", "dataset.size=16", "batch_size=4", "model.norm=none"))
    game, batch = trainer.updater.gan, next(trainer.loader.batches())
    weight = next(game.discriminator.parameters())

    def penalty() -> Tensor:
        round = StepContext(game, batch.real, torch.zeros(4, 1), generator_step=False, needs_gradient_of=frozenset({"real"}))
        return R1Penalty()(round)

    weight.requires_grad_(True)
    (gradient,) = torch.autograd.grad(penalty(), weight)
    assert gradient.dtype == torch.float64
    step, place = 1e-5, (0, 0, 1, 1)
    with torch.no_grad():
        weight[place] += step
    above = penalty().item()
    with torch.no_grad():
        weight[place] -= 2 * step
    below = penalty().item()
    assert float(gradient[place]) == pytest.approx((above - below) / (2 * step), rel=1e-9)


def test_the_emulation_has_its_own_random_state_in_checkpoints(tmp_path: Path) -> None:
    job = make_job(tmp_path, "precision=int16")
    precision = build_precision(job, CPU)
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    state = precision.state_dict()
    first = precision.rounding.round_stochastic(torch.linspace(0, 1, 100))
    assert torch.equal(torch.rand(1), wanted)
    precision.load_state_dict(state)
    assert torch.equal(precision.rounding.round_stochastic(torch.linspace(0, 1, 100)), first)


def test_incompatible_arguments_are_an_error() -> None:
    from gan_lab.iteration.precision import Precision

    with pytest.raises(ValueError, match="bits=30: must be 2 to 24"):
        FixedPoint(30, 0)
    with pytest.raises(ValueError, match="param_dtype=float8"):
        Precision(CPU, param_dtype="float8")
    with pytest.raises(ValueError, match="autocast can only be combined with"):
        Precision(CPU, autocast="bfloat16", rounding=FixedPoint(16, 0))
