"""Emulates training in dynamic fixed point: the factors of products are rounded to integers with a shared scale.

Follows Das et al. 2018 (arXiv:1802.00930, "DFP-16"): every tensor consists of 16-bit integers times its own power of two.
Weights, activations and gradients are rounded where products are computed: in convolutions, dense layers and matrix products.
Normalizations, losses, updates and the weights that are updated stay in float32. Gradients are rounded
stochastically (Gupta et al. 2015, section 3), which is unbiased.

The emulation shows the effect of the format on training, not its speed: products are computed in float32, and rounding takes
additional time. Sums have the 24 bits of float32; integer hardware has 32 bits and wraps around. The error of the sum is some
hundred times smaller than that of the rounding. An overflow of the sum is not emulated.

Fused operations (recurrent layers, ``torch.nn.MultiheadAttention``, ``cdist``) and in-place products (``addmm_``) are not
rounded; no network of gan_lab uses them.
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
"""Functions whose inputs and outputs are rounded, under each of their names in Python."""

MIN_EXPONENT = -126
"""Exponent of the smallest scale, that of the smallest normal float32 number; smaller values become 0."""


class FixedPoint:
    """Rounds tensors to integers of ``bits`` bits times a power of two per tensor.

    Args:
        bits: 2 to 24, the most that float32 represents exactly; 16 as published.
        seed: of the stochastic rounding, which has its own random generator, so that latents and augmentations are the same as
            without it.

    Raises:
        ValueError: ``bits`` is out of range.
    """

    def __init__(self, bits: int, seed: int) -> None:
        if not 2 <= bits <= 24:
            raise ValueError(f"precision.rounding.bits={bits}: must be 2 to 24")
        self._bits = bits
        self._seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    def to(self, device: torch.device) -> None:
        """Draw random numbers on ``device`` from now on."""
        self.generator = torch.Generator(device).manual_seed(self._seed)

    @contextmanager
    def __call__(self, device: torch.device) -> Iterator[None]:
        """A context in which products on ``device`` are rounded, except where autocast is switched off for full precision.

        Autocast is enabled for this with float32, so that it casts nothing.
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
        """Round to the nearest multiple of the scale, ties to even."""
        scaled, scale = self._scaled(values)
        return scaled.round_().mul_(scale)

    def round_stochastic(self, values: Tensor) -> Tensor:
        """Round up or down, with probabilities that make the expectation exact."""
        scaled, scale = self._scaled(values)
        random = torch.rand(values.shape, generator=self.generator, device=values.device, dtype=values.dtype)
        below = scaled.floor()
        above = random.lt_(scaled.sub_(below))  # floor(scaled + random) would be too large: float32 rounds that sum
        return below.add_(above).mul_(scale)

    def _scaled(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """``values / scale`` and the scale, the smallest power of two for which all are within +-(2^(bits-1) - 1).

        Does not synchronize with the device. If a value is not finite, the scale is NaN, so that an overflow is visible.
        """
        largest = torch.linalg.vector_norm(values, torch.inf) if values.numel() else values.new_zeros(())
        mantissa, exponent = torch.frexp(largest)  # largest = mantissa * 2^exponent, mantissa in [1/2, 1)
        beyond = mantissa > 1.0 - 2.0 ** (1 - self._bits)
        exponent = (exponent - (self._bits - 1) + beyond).clamp(min=MIN_EXPONENT)
        one = torch.ones_like(largest)
        scale = torch.where(largest.isfinite(), torch.ldexp(one, exponent), torch.nan)
        return values * torch.ldexp(one, -exponent), scale

    def state_dict(self) -> dict[str, Any]:
        return {"device": self.generator.device.type, "random": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """On another kind of device the generator starts from the seed."""
        if state["device"] == self.generator.device.type:
            self.generator.set_state(state["random"])


class StraightThroughRound(torch.autograd.Function):
    """Rounding with a straight-through gradient, which is rounded stochastically; differentiable any number of times."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, fixed: FixedPoint, stochastic: bool) -> Tensor:
        ctx.fixed = fixed
        return fixed.round_stochastic(values) if stochastic else fixed.round_nearest(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return StraightThroughRound.apply(gradient, ctx.fixed, True), None, None


class _Rounding(TorchFunctionMode):
    """Rounds inputs and outputs of :data:`PRODUCTS`, wherever they are called."""

    def __init__(self, fixed: FixedPoint, device: torch.device) -> None:
        super().__init__()
        self._fixed, self._device = fixed, device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = kwargs.get("out") is not None  # rounding would replace the output tensor; it has no gradient
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
