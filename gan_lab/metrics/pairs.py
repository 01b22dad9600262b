"""How far images are from what they should have been: super-resolution, reconstruction.

Every metric here takes pairs, ``metric(fakes, reals)``: uint8 ``[N, C, H, W]``, C = 1 or 3, the n-th fake belonging to the n-th
real; and returns means over them by name. Sets with images of several sizes are measured size by size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from gan_lab.metrics.networks import weights
from gan_lab.metrics.networks.base import as_colour
from gan_lab.metrics.perception import Perception
from gan_lab.metrics.structure import LEVELS, ssim

LUMA = (65.481, 128.553, 24.966)
"""Of red, green and blue in [0, 1], with 16 added to their sum: ITU-R BT.601, [16, 235]."""
BLOCK_VALUES = 2**22
"""Of one side of the pairs measured at a time."""


class PairMetric(ABC):
    """A comparison of images with what they should have been.

    Attributes:
        headline: the one of its scores that may stand for a run, lower being better; None if it has none such.
        smallest: pixels across that its network takes.
    """

    headline: str | None = None
    smallest: int = 1

    def __call__(self, fakes: Tensor, reals: Tensor) -> dict[str, float]:
        """Means over all pairs.

        Raises:
            ValueError: numbers or sizes differ, there are none, or they are too small.
        """
        if fakes.shape != reals.shape or not len(fakes):
            sizes = ["x".join(map(str, side.shape[1:])) for side in (fakes, reals)]
            raise ValueError(f"pairs: {len(fakes)} fakes of {sizes[0]} and {len(reals)} reals of {sizes[1]} make none")
        rows = max(1, BLOCK_VALUES // fakes[0].numel())
        parts = [self.of_pairs(*part) for part in zip(fakes.split(rows), reals.split(rows), strict=True)]
        return {name: torch.cat([part[name] for part in parts]).mean(dtype=torch.float64).item() for name in parts[0]}

    @abstractmethod
    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        """``[N]`` of each score."""

    def settings(self) -> str:
        """The numbers it was made with, for the record."""
        numbers = {name.lstrip("_"): value for name, value in vars(self).items() if name.startswith("_")}
        return ", ".join(f"{name}={value}" for name, value in numbers.items()) or "as published"

    def to(self, device: torch.device) -> None:  # noqa: B027 - most have no network
        """Compute there from here on."""


class Psnr(PairMetric):
    """``psnr``: decibels, ``10 log10(255^2 / e)`` with e the mean squared error of all values; ``psnr_y`` of the luma; and
    ``rmse_y``, the root of that error, in levels: lower where the picture is better, as scores are that runs are judged by.

    The mean is over the images' decibels, as BasicSR takes it. Of identical images the logarithm is infinite, which no mean and
    no JSON survives: an error counts as at least that of one level in one value of the image, the smallest that uint8 images
    can have. Identical 32x32 grey ones have 78.2 dB, identical 512x512 colour ones 107.1.

    Luma is that of MATLAB's ``rgb2ycbcr``, but not rounded, as in BasicSR; of grey images their values.

    Args:
        border: pixels left out along each edge; by custom the scale of a super-resolution.
    """

    headline = "rmse_y"

    def __init__(self, border: int) -> None:
        self._border = _checked(border)

    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        scores = _in_colour_and_luma("psnr", psnr, fakes, reals, self._border)
        return {**scores, "rmse_y": LEVELS / 10 ** (scores["psnr_y"] / 20)}


class Ssim(PairMetric):
    """``ssim`` (see :func:`gan_lab.metrics.structure.ssim`), the mean over channels, and ``ssim_y`` of the luma.

    Args:
        border: as of :class:`Psnr`.
    """

    def __init__(self, border: int) -> None:
        self._border = _checked(border)

    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        return _in_colour_and_luma("ssim", ssim, fakes, reals, self._border)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """``[N]`` of images ``[N, C, H, W]`` in [0, 255]; identical ones as :class:`Psnr` says."""
    errors = (a - b).square().flatten(1).mean(1)
    return 10 * torch.log10(LEVELS**2 / errors.clamp_min(1 / a[0].numel()))


def luma(images: Tensor) -> Tensor:
    """``[N, 3, H, W]`` in [0, 255] to ``[N, 1, H, W]`` float64 in [16, 235]; grey images as they are."""
    images = images.double()
    if images.shape[1] == 1:
        return images
    weight = torch.tensor(LUMA, dtype=torch.float64, device=images.device) / LEVELS
    return (images * weight.view(1, 3, 1, 1)).sum(1, keepdim=True) + 16


@dataclass(frozen=True)
class _Kind:
    """A network LPIPS is taken in.

    Attributes:
        features: its convolutions, without weights.
        taps: layers whose activations are compared.
        smallest: pixels across that its pooling leaves anything of.
        backbone: file of its weights, as torchvision publishes them; its name ends in the beginning of its SHA-256 sum.
        heads: file of the weights of channels, as the authors publish them.
        heads_sha256: the beginning of its sum.
    """

    features: Callable[[], nn.Sequential]
    taps: tuple[int, ...]
    smallest: int
    backbone: str
    heads: str
    heads_sha256: str


def _of_torchvision(name: str, **more: Any) -> nn.Sequential:
    """A network's convolutions; torchvision is imported no sooner, for the sake of trainings that have no use for it."""
    from torchvision import models

    convolutions: nn.Sequential = getattr(models, name)(weights=None, **more).features
    return convolutions


KINDS = {
    "alex": _Kind(
        lambda: _of_torchvision("alexnet"),
        taps=(1, 4, 7, 9, 11),
        smallest=31,
        backbone="alexnet-owt-7be5be79.pth",
        heads="alex.pth",
        heads_sha256="df73285e",
    ),
    "vgg": _Kind(
        lambda: _of_torchvision("vgg16", init_weights=False),
        taps=(3, 8, 15, 22, 29),
        smallest=16,
        backbone="vgg16-397923af.pth",
        heads="vgg.pth",
        heads_sha256="a78928a0",
    ),
}
BACKBONES = "https://download.pytorch.org/models/"
HEADS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"


class Lpips(PairMetric):
    """``lpips`` (Zhang et al. 2018, eq. 1): distance of a photograph classifier's activations, weighted as people see it.

    Version 0.1 of the authors' package. ``network=alex`` is what it takes by default and most papers report; of
    ``network=vgg``, which torch-fidelity and BasicSR's script take, the score is called ``lpips_vgg``. Grey images are repeated
    to three channels. Nothing is left out along the edges.

    Args:
        folder: where the two files of weights lie; a download of 233 or 528 MB is the user's to make.
        network: ``alex`` or ``vgg``.
        device: computed on.

    Raises:
        ValueError: there is no such network, or a file is missing or another one; the message says which to put where.
    """

    def __init__(self, folder: Path | str, network: str, device: torch.device | str) -> None:
        if network not in KINDS:
            raise ValueError(f"lpips: {network=}: must be {' or '.join(KINDS)}")
        kind = KINDS[network]
        files = _published(Path(folder).expanduser(), network, kind)
        self._network = PerceptualDistance(kind, *map(weights.load_state, files)).to(device)
        self.headline = self._name = "lpips" if network == "alex" else f"lpips_{network}"
        self.smallest, self._device = kind.smallest, device

    def settings(self) -> str:
        return "version 0.1"

    def to(self, device: torch.device) -> None:
        self._network.to(device)
        self._device = device

    @torch.no_grad()
    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        if min(fakes.shape[2:]) < self.smallest:
            side = "x".join(map(str, fakes.shape[2:]))
            raise ValueError(f"{self._name} takes images of at least {self.smallest} pixels across, not {side}")
        return {self._name: self._network(fakes.to(self._device), reals.to(self._device)).cpu()}


class Perceptual(PairMetric):
    """``perceptual_<network>``: LPIPS without its learnt weights of channels, in a network that needs no download.

    At each place of each layer the directions of both images' activations are compared (Zhang et al. 2018, eq. 1 with w = 1):
    their squared distance, 0 to 4, the mean over places, the sum over layers. It compares only with itself.

    Args:
        network: images in [-1, 1] to a list of maps; see :mod:`gan_lab.metrics.perception`.
    """

    def __init__(self, network: Perception) -> None:
        self._network, self.smallest = network, network.smallest
        self.headline = f"perceptual_{network.name}"

    def to(self, device: torch.device) -> None:
        self._network.to(device)

    def settings(self) -> str:
        return f"{self._network.name}, layers of {self._network.description}"

    @torch.no_grad()
    def of_pairs(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        device = next(self._network.parameters()).device
        sides = [self._network(side.to(device).float().div(LEVELS / 2).sub(1)) for side in (fakes, reals)]
        total = torch.zeros(len(fakes), device=device)
        for x, y in zip(*sides, strict=True):
            total += (_direction(x) - _direction(y)).square().sum(1).mean((1, 2))
        return {str(self.headline): total.cpu()}


class PerceptualDistance(nn.Module):
    """The network of :class:`Lpips`.

    Args:
        kind: one of :data:`KINDS`.
        backbone: weights by torchvision's names; those of layers that are not convolutions are not needed.
        heads: weights of channels, by the authors' names.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, kind: _Kind, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):  # no random weights, which would cost a second and the global generator's state
            self.layers = kind.features()
        state = {name.removeprefix("features."): w for name, w in backbone.items() if name.startswith("features.")}
        self.layers.load_state_dict(state, assign=True)
        self._taps = kind.taps
        for number in range(len(kind.taps)):
            self.register_buffer(f"head{number}", heads[f"lin{number}.model.1.weight"])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """uint8 ``[N, C, H, W]`` each, to ``[N]``."""
        total = torch.zeros(len(a), device=a.device)
        for number, (x, y) in enumerate(zip(self._directions(a), self._directions(b), strict=True)):
            total += conv2d((x - y).square(), self.get_buffer(f"head{number}")).mean((1, 2, 3))
        return total

    def _directions(self, images: Tensor) -> Iterator[Tensor]:
        """Activations at the taps, of length 1 at each place."""
        x = (as_colour(images).float() / (LEVELS / 2) - 1 - self.shift) / self.scale
        for number, layer in enumerate(self.layers[: self._taps[-1] + 1]):
            x = layer(x)
            if number in self._taps:
                yield _direction(x)


def _direction(maps: Tensor) -> Tensor:
    """Of length 1 at each place."""
    return maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _published(folder: Path, network: str, kind: _Kind) -> list[Path]:
    """The two files, if both are there and what they should be."""
    wanted = (
        ([kind.backbone], BACKBONES + kind.backbone, Path(kind.backbone).stem.rpartition("-")[2]),
        ([f"lpips-{kind.heads}", kind.heads], HEADS + kind.heads, kind.heads_sha256),
    )
    files, missing = [], []
    for names, address, checksum in wanted:
        path = weights.find(folder, names)
        if path is None:
            missing.append(f"{address} as {names[0]}")
        elif not weights.sha256(path).startswith(checksum):
            missing.append(f"{address} as {path.name} (the one there has another SHA-256 sum than {checksum}...)")
        else:
            files.append(path)
    if missing:
        raise ValueError(
            f"lpips: network={network} needs weights in {folder} (paths.weights): put there {' and '.join(missing)}"
        )
    return files


def _in_colour_and_luma(
    name: str, score: Callable[[Tensor, Tensor], Tensor], fakes: Tensor, reals: Tensor, border: int
) -> dict[str, Tensor]:
    """In float64, inside of the border."""
    height, width = fakes.shape[2:]
    if min(height, width) <= 2 * border:
        raise ValueError(f"{name}: {border=} leaves nothing of images of {height}x{width}")
    a, b = (side[:, :, border : height - border, border : width - border] for side in (fakes, reals))
    return {name: score(a.double(), b.double()), f"{name}_y": score(luma(a), luma(b))}


def _checked(border: int) -> int:
    if border < 0:
        raise ValueError(f"pairs: {border=} must not be negative")
    return border
