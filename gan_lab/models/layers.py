"""Layers, initialization and size arithmetic that several families share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

BASE_SIZES = (4, 5, 6, 7)
"""Sides in pixels of the smallest map that a stack of stride-2 layers starts from or ends at."""


def to_at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 to float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def normal_init(module: nn.Module) -> None:
    """DCGAN's initialization, for ``Module.apply``: weights N(0, 0.02), BatchNorm weights N(1, 0.02), biases 0.

    Radford et al. 2015, section 4; BatchNorm as in the reference implementation, pytorch/examples ``dcgan/main.py``.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def doubling_widths(width: int, doublings: int, max_width: int) -> list[int]:
    """``[width, 2 * width, 4 * width, ...]``, ``doublings`` numbers, none above ``max(width, max_width)``."""
    return [min(width << n, max(width, max_width)) for n in range(doublings)]


class Float32Norm(nn.Module):
    """Mixin: a normalization that computes in float32 if autocast passes it float16.

    Its second derivative, which gradient penalties need, holds powers of 1 / (standard deviation) that exceed float16's range.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.float() if maps.dtype == torch.float16 else maps)


class BatchDependent:
    """Marks a layer whose output for one image depends on the other images of the batch."""


class Frozen:
    """Marks a layer that is never trained; its weights are buffers, which are equal in all processes."""


class BatchNorm(BatchDependent, Float32Norm, nn.BatchNorm2d):
    """Batch normalization, see :class:`Float32Norm`."""


class LayerNorm(Float32Norm, nn.GroupNorm):
    """Layer normalization of maps, as group normalization with one group; see :class:`Float32Norm`."""


class InstanceNorm(Float32Norm, nn.InstanceNorm2d):
    """Instance normalization, see :class:`Float32Norm`."""


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "layer": lambda channels: LayerNorm(1, channels),
    "instance": lambda channels: InstanceNorm(channels, affine=True),
    "none": lambda channels: nn.Identity(),
}
"""A discriminator's normalizations. With all but ``batch`` the output for an image is independent of the others, which a
penalty on each image's gradient assumes (Gulrajani et al. 2017, section 4)."""


def make_norm(name: str, channels: int) -> nn.Module:
    """A layer of one of :data:`NORMS`.

    Raises:
        ValueError: ``name`` is not one of them.
    """
    if name not in NORMS:
        raise ValueError(f"norm={name}: must be one of {', '.join(NORMS)}")
    return NORMS[name](channels)


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value (Miyato et al. 2018, algorithm 1), with one power iteration per use.

    The gradient passes through the singular value. The vector ``u`` is updated in training mode only; in evaluation mode the
    result is a pure function of the weight and of the direction of ``u``, so an average of weights may average ``u`` as well.
    Computed in float32 under autocast too, because the power iteration needs its precision.

    Args:
        weight: of a layer; a matrix, or flattened to one whose rows are ``dim``.
        eps: lower bound of the norms in the power iteration.
        dim: 0, or 1 as ``torch.nn.utils.spectral_norm`` has it for transposed convolutions.
    """

    u: Tensor

    def __init__(self, weight: Tensor, eps: float = 1e-12, dim: int = 0) -> None:
        super().__init__()
        self.eps, self.dim = eps, dim
        self.register_buffer("u", normalize(torch.randn(weight.shape[dim]), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.transpose(0, self.dim).flatten(1)
            with torch.no_grad():
                v = normalize(matrix.T @ self.u, dim=0, eps=self.eps)
                u = normalize(matrix @ v, dim=0, eps=self.eps)
                if self.training:
                    self.u.copy_(u)
            return weight / (u @ (matrix @ v))


def with_spectral_norm(layer: nn.Module, dim: int = 0) -> Any:
    """``layer`` with a :class:`SpectralNorm` of its weight, in place; works on the meta device too."""
    norm = SpectralNorm(layer.weight, dim=dim)  # type: ignore[arg-type]
    return parametrize.register_parametrization(layer, "weight", norm, unsafe=True)


def add_spectral_norm(network: nn.Module) -> None:
    """Give every convolution and dense layer of ``network`` a :class:`SpectralNorm`, in place."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            norm = SpectralNorm(module.weight)
            # registering applies it once, which changes u; the meta device has no values to apply it to
            parametrize.register_parametrization(module, "weight", norm, unsafe=module.weight.is_meta)


def split_size(size: int, max_size: int = 256, min_doublings: int = 2, key: str = "dataset.size") -> tuple[int, int]:
    """Write ``size`` as ``base * 2**doublings``, where base is one of :data:`BASE_SIZES`.

    Args:
        size: side of an image in pixels.
        max_size: the largest side.
        min_doublings: the fewest doublings.
        key: configuration key that ``size`` comes from, for the message.

    Returns:
        ``(base, doublings)``; 64 gives (4, 4), 28 gives (7, 2).

    Raises:
        ValueError: no such factors, fewer than ``min_doublings`` doublings, or a size above ``max_size``.
    """
    for base in BASE_SIZES:
        doublings = (size // base).bit_length() - 1
        if base << max(doublings, 0) == size and doublings >= min_doublings and size <= max_size:
            return base, doublings
    possible = sorted(base << n for n in range(min_doublings, 10) for base in BASE_SIZES if base << n <= max_size)
    raise ValueError(f"{key}={size}: this family builds {', '.join(map(str, possible))} pixels; choose one of them")


def check_positive(**numbers: int) -> None:
    """Raise ValueError for the first of ``numbers`` below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
