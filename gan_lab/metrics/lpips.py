"""How far images look from what they should have been, to networks that have learnt to see: LPIPS, and its like.

The metrics are those of :mod:`gan_lab.metrics.full_reference`: uint8 images in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from gan_lab.metrics.full_reference import FullReferenceMetric
from gan_lab.metrics.networks import weights
from gan_lab.metrics.networks.base import to_rgb
from gan_lab.metrics.perceptual_networks import PerceptualNetwork
from gan_lab.metrics.ssim import LEVELS
from gan_lab.storage.downloads import Checksum, find_file


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


class LPIPS(FullReferenceMetric):
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
        self._network = LPIPSNetwork(kind, *map(weights.load_state, files)).to(device)
        self.primary_score = self._name = "lpips" if network == "alex" else f"lpips_{network}"
        self.min_size, self._device = kind.smallest, device

    def settings(self) -> str:
        return "version 0.1"

    def to(self, device: torch.device) -> None:
        self._network.to(device)
        self._device = device

    @torch.no_grad()
    def scores_per_image(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        if min(fakes.shape[2:]) < self.min_size:
            side = "x".join(map(str, fakes.shape[2:]))
            raise ValueError(f"{self._name} takes images of at least {self.min_size} pixels across, not {side}")
        return {self._name: self._network(fakes.to(self._device), reals.to(self._device)).cpu()}


class PerceptualNetworkDistance(FullReferenceMetric):
    """``perceptual_<network>``: LPIPS without its learnt weights of channels, in a network that needs no download.

    At each place of each layer the directions of both images' activations are compared (Zhang et al. 2018, eq. 1 with w = 1):
    their squared distance, 0 to 4, the mean over places, the sum over layers. It compares only with itself.

    Args:
        network: images in [-1, 1] to a list of maps; see :mod:`gan_lab.metrics.perceptual_networks`.
    """

    def __init__(self, network: PerceptualNetwork) -> None:
        self._network, self.min_size = network, network.min_size
        self.primary_score = f"perceptual_{network.name}"

    def to(self, device: torch.device) -> None:
        self._network.to(device)

    def settings(self) -> str:
        return f"{self._network.name}, layers of {self._network.description}"

    @torch.no_grad()
    def scores_per_image(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        device = next(self._network.parameters()).device
        sides = [self._network(side.to(device).float().div(LEVELS / 2).sub(1)) for side in (fakes, reals)]
        total = torch.zeros(len(fakes), device=device)
        for x, y in zip(*sides, strict=True):
            total += (_direction(x) - _direction(y)).square().sum(1).mean((1, 2))
        return {str(self.primary_score): total.cpu()}


class LPIPSNetwork(nn.Module):
    """The network of :class:`LPIPS`.

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
        x = (to_rgb(images).float() / (LEVELS / 2) - 1 - self.shift) / self.scale
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
        path = find_file(folder, names)
        if path is None:
            missing.append(f"{address} as {names[0]}")
        elif not Checksum("sha256", checksum).matches(path):
            missing.append(f"{address} as {path.name} (the one there has another SHA-256 sum than {checksum}...)")
        else:
            files.append(path)
    if missing:
        raise ValueError(
            f"lpips: network={network} needs weights in {folder} (paths.weights): put there {' and '.join(missing)}"
        )
    return files
