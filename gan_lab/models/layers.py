"""What several families share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize
from torch.nn.utils import parametrize

from gan_lab.utils.image_ops import upsample_nearest_2x

BASE_SIZES = (4, 5, 6, 7)


def to_at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 to float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def normal_init(module: nn.Module) -> None:
    """DCGAN's initialisation, to be used with ``Module.apply``: weights N(0, 0.02), BatchNorm weights N(1, 0.02), biases 0.

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


def doubling_widths(width: int, doublings: int, largest: int) -> list[int]:
    """``width``, twice as many, ...: one for each doubling of the map, none above ``largest``."""
    return [min(width << n, max(width, largest)) for n in range(doublings)]


class Doubled(nn.Module):
    """:func:`doubled` as a layer."""

    def forward(self, maps: Tensor) -> Tensor:
        return upsample_nearest_2x(maps)


class Halved(nn.Module):
    """The mean of each 2x2 box."""

    def forward(self, maps: Tensor) -> Tensor:
        return avg_pool2d(maps, 2)


class Float32Norm(nn.Module):
    """A normalisation that computes in float32 where autocast hands it float16.

    Its second derivative, which penalties need, has powers of 1 / (standard deviation) far beyond float16's largest number.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.float() if maps.dtype == torch.float16 else maps)


class BatchDependent:
    """Marks a layer whose output for one image depends on the others of its batch."""


class BatchNorm(BatchDependent, Float32Norm, nn.BatchNorm2d):
    """Batch normalisation, see :class:`Float32Norm`."""


class LayerNorm(Float32Norm, nn.GroupNorm):
    """Layer normalisation of maps: one group, see :class:`Float32Norm`."""


class InstanceNorm(Float32Norm, nn.InstanceNorm2d):
    """Instance normalisation, see :class:`Float32Norm`."""


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "layer": lambda channels: LayerNorm(1, channels),
    "instance": lambda channels: InstanceNorm(channels, affine=True),
    "none": lambda channels: nn.Identity(),
}
"""What a discriminator may normalise with. Those other than ``batch`` leave images independent of each other, as a penalty on
the gradient of each image supposes (Gulrajani et al. 2017, section 4)."""


def make_norm(kind: str, channels: int) -> nn.Module:
    """One of :data:`NORMS`.

    Raises:
        ValueError: there is none of this name.
    """
    if kind not in NORMS:
        raise ValueError(f"norm={kind}: must be one of {', '.join(NORMS)}")
    return NORMS[kind](channels)


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value (Miyato et al. 2018, algorithm 1), one power iteration at each use.

    The singular value keeps its gradient through the weight. The vector ``u`` is renewed in training mode only; in evaluation
    mode the result is a pure function of the weight and of ``u``'s direction, so it does no harm that averages of weights
    average ``u`` as well. In float32 under autocast too: the iteration does not survive fewer bits.
    """

    u: Tensor

    def __init__(self, weight: Tensor, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("u", normalize(torch.randn(weight.shape[0]), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = normalize(matrix.T @ self.u, dim=0, eps=self.eps)
                u = normalize(matrix @ v, dim=0, eps=self.eps)
                if self.training:
                    self.u.copy_(u)
            return weight / (u @ (matrix @ v))


def add_spectral_norm(network: nn.Module) -> None:
    """Give every convolution and dense layer of ``network`` a :class:`SpectralNorm`, in place."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))


def split_size(size: int, largest: int = 256, fewest: int = 2) -> tuple[int, int]:
    """Write ``size`` as ``base * 2**doublings`` with base 4 to 7, the map a stack of stride-2 layers starts from.

    Returns:
        ``(base, doublings)``; 64 gives (4, 4), 28 gives (7, 2).

    Raises:
        ValueError: no such factors, fewer than ``fewest`` doublings, or a size above ``largest``.
    """
    for base in BASE_SIZES:
        doublings = (size // base).bit_length() - 1
        if base << max(doublings, 0) == size and doublings >= fewest and size <= largest:
            return base, doublings
    possible = sorted(base << n for n in range(fewest, 10) for base in BASE_SIZES if base << n <= largest)
    raise ValueError(f"size={size}: this family builds {', '.join(map(str, possible))} pixels; set dataset.size to one of them")


def check_positive(**numbers: int) -> None:
    """Raise ValueError for the first of ``numbers`` below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
