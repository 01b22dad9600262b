"""Training in fixed point, emulated: what is multiplied has been rounded to integers that share a scale.

This is dynamic fixed point as Das et al. 2018 train with it (arXiv:1802.00930, "DFP-16"): every tensor is integers of 16 bits
times a power of two of its own. Weights, activations and gradients are rounded where products are taken, that is in
convolutions, dense layers and matrix products; normalisations, losses and updates stay in float32, and so do the weights that
updates are added to. Gradients are rounded stochastically (Gupta et al. 2015, section 3), which loses nothing on average.

It shows the numerics and not the speed: the products are computed by floating-point units and take longer than without. Their
sums are float32's, of 24 bits, where integer hardware has 32 and wraps beyond: an error of the sum smaller than that of the
rounding by some hundred times, and an overflow that is never seen.

What a library computes as one (recurrent layers, ``torch.nn.MultiheadAttention``, ``cdist``) and products in place
(``addmm_``) are not rounded; no network here has any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.conv1d,
        functional.conv2d,
        functional.conv3d,
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
        functional.linear,
        functional.bilinear,
        functional.scaled_dot_product_attention,
        torch.addbmm,
        torch.addmm,
        torch.addmv,
        torch.baddbmm,
        torch.bmm,
        torch.chain_matmul,
        torch.dot,
        torch.einsum,
        torch.inner,
        torch.linalg.matmul,
        torch.linalg.multi_dot,
        torch.linalg.vecdot,
        torch.matmul,
        torch.mm,
        torch.mv,
        torch.tensordot,
        Tensor.__matmul__,
        Tensor.__rmatmul__,
        Tensor.addbmm,
        Tensor.addmm,
        Tensor.addmv,
        Tensor.baddbmm,
        Tensor.bmm,
        Tensor.dot,
        Tensor.inner,
        Tensor.matmul,
        Tensor.mm,
        Tensor.mv,
    }
)
"""What is rounded, by every name it can be called by from Python."""

MIN_EXPONENT = -126
"""Exponent of the smallest scale: float32's smallest normal number. What is smaller still becomes 0."""


class FixedPoint:
    """Integers of ``bits`` bits with a shared power of two for each tensor.

    Args:
        bits: 2 to 24, as many as float32 represents without error; 16 as published.
        seed: of the stochastic rounding, whose numbers are its own: latents and augmentations are what they are without.

    Raises:
        ValueError: ``bits`` out of range.
    """

    def __init__(self, bits: int, seed: int) -> None:
        if not 2 <= bits <= 24:
            raise ValueError(f"precision.rounding.bits={bits}: must be 2 to 24")
        self._bits = bits
        self._seed = seed
        self._random = torch.Generator().manual_seed(seed)

    def to(self, device: torch.device) -> None:
        """Draw on ``device`` from here on."""
        self._random = torch.Generator(device).manual_seed(self._seed)

    @contextmanager
    def __call__(self, device: torch.device) -> Iterator[None]:
        """Within it, products on ``device`` are rounded, but where autocast is switched off: there full precision is wanted.

        Autocast is on for that, and casts to float32, which is no cast.
        """
        before = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        torch.set_autocast_enabled(device.type, True)
        torch.set_autocast_dtype(device.type, torch.float32)
        try:
            with _Rounding(self, device):
                yield
        finally:
            torch.set_autocast_enabled(device.type, before[0])
            torch.set_autocast_dtype(device.type, before[1])

    def round_nearest(self, values: Tensor) -> Tensor:
        """To the nearest integer of the scale, ties to the even one."""
        scaled, scale = self._scaled(values)
        return scaled.round_().mul_(scale)

    def round_stochastic(self, values: Tensor) -> Tensor:
        """Up or down, with the probabilities that make the mean right."""
        scaled, scale = self._scaled(values)
        random = torch.rand(values.shape, generator=self._random, device=values.device, dtype=values.dtype)
        below = scaled.floor()
        above = random.lt_(scaled.sub_(below))  # floor(scaled + random) would be too large: float32 rounds that sum
        return below.add_(above).mul_(scale)

    def _scaled(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """``values / scale`` and the scale, a power of two: the smallest that brings all within +-(2^(bits-1) - 1).

        No step of it waits for the device. Where a value is not finite the scale is NaN: an overflow is for all to see.
        """
        largest = torch.linalg.vector_norm(values, torch.inf) if values.numel() else values.new_zeros(())
        mantissa, exponent = torch.frexp(largest)  # largest = mantissa * 2^exponent, mantissa in [1/2, 1)
        beyond = mantissa > 1.0 - 2.0 ** (1 - self._bits)
        exponent = (exponent - (self._bits - 1) + beyond).clamp(min=MIN_EXPONENT)
        one = torch.ones_like(largest)
        scale = torch.where(largest.isfinite(), torch.ldexp(one, exponent), torch.nan)
        return values * torch.ldexp(one, -exponent), scale

    def state_dict(self) -> dict[str, Any]:
        return {"device": self._random.device.type, "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A run that moves to another kind of device starts from the seed."""
        if state["device"] == self._random.device.type:
            self._random.set_state(state["random"])


class StraightThroughRound(torch.autograd.Function):
    """Rounding that gradients pass through, rounded stochastically, as often as it is differentiated."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, fixed: FixedPoint, stochastic: bool) -> Tensor:
        ctx.fixed = fixed
        return fixed.round_stochastic(values) if stochastic else fixed.round_nearest(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return StraightThroughRound.apply(gradient, ctx.fixed, True), None, None


class _Rounding(TorchFunctionMode):
    """Rounds what goes into products and what comes out of them, whoever calls them."""

    def __init__(self, fixed: FixedPoint, device: torch.device) -> None:
        super().__init__()
        self._fixed, self._device = fixed, device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = kwargs.get("out") is not None  # a tensor to write into would be rounded to another one; no gradient has it
        if given or func not in PRODUCTS or not torch.is_autocast_enabled(self._device.type):
            return func(*args, **kwargs)
        args = [self._round(value) for value in args]
        return self._round(func(*args, **{name: self._round(value) for name, value in kwargs.items()}))

    def _round(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return StraightThroughRound.apply(value, self._fixed, False)
        if isinstance(value, list | tuple):
            return type(value)(self._round(each) for each in value)
        return value
