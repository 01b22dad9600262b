"""Perceptual full-reference metrics, which compare network activations: LPIPS, and a variant that needs no download."""

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
from gan_lab.metrics.networks.resize import IMAGENET_MEAN, IMAGENET_STD
from gan_lab.metrics.perceptual_networks import PerceptualNetwork
from gan_lab.metrics.ssim import LEVELS
from gan_lab.storage.downloads import Checksum, find_file
from gan_lab.utils.image_ops import to_rgb


@dataclass(frozen=True)
class _Variant:
    """A network that LPIPS can be computed with.

    Attributes:
        layers: creates its convolutional layers, without pretrained weights.
        taps: indices of the layers whose activations are compared.
        min_size: smallest images in pixels.
        backbone: torchvision's file of its weights; the name ends with the first digits of the SHA-256 checksum.
        heads: the authors' file of the channel weights.
        heads_sha256: first digits of its checksum.
    """

    layers: Callable[[], nn.Sequential]
    taps: tuple[int, ...]
    min_size: int
    backbone: str
    heads: str
    heads_sha256: str


def _torchvision_layers(name: str, **arguments: Any) -> nn.Sequential:
    """The convolutional layers of a torchvision network; imported here because most runs don't need torchvision's models."""
    from torchvision import models

    layers: nn.Sequential = getattr(models, name)(weights=None, **arguments).features
    return layers


VARIANTS = {
    "alex": _Variant(
        lambda: _torchvision_layers("alexnet"),
        taps=(1, 4, 7, 9, 11),
        min_size=31,
        backbone="alexnet-owt-7be5be79.pth",
        heads="alex.pth",
        heads_sha256="df73285e",
    ),
    "vgg": _Variant(
        lambda: _torchvision_layers("vgg16", init_weights=False),
        taps=(3, 8, 15, 22, 29),
        min_size=16,
        backbone="vgg16-397923af.pth",
        heads="vgg.pth",
        heads_sha256="a78928a0",
    ),
}
BACKBONES = "https://download.pytorch.org/models/"
HEADS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"


class LPIPS(FullReferenceMetric):
    """``lpips`` (Zhang et al. 2018, eq. 1): distance of activations, with channel weights fitted to human judgments.

    Equals version 0.1 of the authors' package. ``network=alex`` is its default and the most common in papers; torch-fidelity
    and BasicSR's script use ``network=vgg``, whose score is called ``lpips_vgg``. Gray images are repeated to three channels.
    No border is left out.

    Args:
        folder: contains the two files of weights, which are not downloaded automatically (233 MB for alex, 528 MB for vgg).
        network: ``alex`` or ``vgg``.
        device: to compute on.

    Raises:
        ValueError: the network is unknown, or a file is missing or has another content; the message gives its URL.
    """

    def __init__(self, folder: Path | str, network: str, device: torch.device | str) -> None:
        if network not in VARIANTS:
            raise ValueError(f"lpips: {network=}: must be {' or '.join(VARIANTS)}")
        variant = VARIANTS[network]
        files = _find_weights(Path(folder).expanduser(), network, variant)
        self._network = LPIPSNetwork(variant, *map(weights.load_state, files)).to(device)
        self.primary_score = self._name = "lpips" if network == "alex" else f"lpips_{network}"
        self.min_size, self._device = variant.min_size, device

    def settings(self) -> str:
        return "version 0.1"

    def to(self, device: torch.device) -> None:
        self._network.to(device)
        self._device = device

    @torch.no_grad()
    def scores_per_image(self, fakes: Tensor, reals: Tensor) -> dict[str, Tensor]:
        if min(fakes.shape[2:]) < self.min_size:
            size = "x".join(map(str, fakes.shape[2:]))
            raise ValueError(f"{self._name} needs images of at least {self.min_size}x{self.min_size} pixels, not {size}")
        return {self._name: self._network(fakes.to(self._device), reals.to(self._device)).cpu()}


class PerceptualNetworkDistance(FullReferenceMetric):
    """``perceptual_<network>``: LPIPS without learned channel weights (w = 1 in eq. 1), in a network that needs no download.

    The squared distance of the normalized activations, 0 to 4 at each position, averaged over positions and summed over layers.
    Scores of different networks, and LPIPS, are not comparable.

    Args:
        network: see :mod:`gan_lab.metrics.perceptual_networks`.
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
        maps = [self._network(images.to(device).float().div(LEVELS / 2).sub(1)) for images in (fakes, reals)]
        total = torch.zeros(len(fakes), device=device)
        for x, y in zip(*maps, strict=True):
            total += (_normalize(x) - _normalize(y)).square().sum(1).mean((1, 2))
        return {str(self.primary_score): total.cpu()}


class LPIPSNetwork(nn.Module):
    """The network of :class:`LPIPS`.

    Args:
        variant: a value of :data:`VARIANTS`.
        backbone: torchvision's state dict; weights of the classification head may be missing.
        heads: the authors' state dict with the channel weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, variant: _Variant, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):  # skips random initialization, which takes a second and uses the global generator
            self.layers = variant.layers()
        state = {name.removeprefix("features."): w for name, w in backbone.items() if name.startswith("features.")}
        self.layers.load_state_dict(state, assign=True)
        self._taps = variant.taps
        for number in range(len(variant.taps)):
            self.register_buffer(f"head{number}", heads[f"lin{number}.model.1.weight"])
        # of images in [-1, 1]
        self.register_buffer("mean", torch.tensor([2 * value - 1 for value in IMAGENET_MEAN]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([2 * value for value in IMAGENET_STD]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances ``[N]`` of uint8 images ``[N, C, H, W]``."""
        total = torch.zeros(len(a), device=a.device)
        for number, (x, y) in enumerate(zip(self._activations(a), self._activations(b), strict=True)):
            total += conv2d((x - y).square(), self.get_buffer(f"head{number}")).mean((1, 2, 3))
        return total

    def _activations(self, images: Tensor) -> Iterator[Tensor]:
        """Normalized activations of each tapped layer."""
        x = (to_rgb(images).float() / (LEVELS / 2) - 1 - self.mean) / self.std
        for number, layer in enumerate(self.layers[: self._taps[-1] + 1]):
            x = layer(x)
            if number in self._taps:
                yield _normalize(x)


def _normalize(maps: Tensor) -> Tensor:
    """Feature maps ``[N, C, h, w]`` with channel vectors of length 1 at each position."""
    return maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _find_weights(folder: Path, network: str, variant: _Variant) -> list[Path]:
    """The verified files of the backbone and the heads.

    Raises:
        ValueError: a file is missing or its checksum differs.
    """
    wanted = (
        ([variant.backbone], BACKBONES + variant.backbone, Path(variant.backbone).stem.rpartition("-")[2]),
        ([f"lpips-{variant.heads}", variant.heads], HEADS + variant.heads, variant.heads_sha256),
    )
    files, missing = [], []
    for names, url, checksum in wanted:
        path = find_file(folder, names)
        if path is None:
            missing.append(f"{url} as {names[0]}")
        elif not Checksum("sha256", checksum).matches(path):
            missing.append(f"{url} as {path.name} (the SHA-256 checksum of the present file does not begin with {checksum})")
        else:
            files.append(path)
    if missing:
        raise ValueError(
            f"lpips: network={network} needs weights in {folder} (paths.weights). Download {' and '.join(missing)}"
        )
    return files
