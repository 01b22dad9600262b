"""Networks whose feature maps perceptual losses and distances compare.

Each maps images ``[N, C, H, W]`` in [-1, 1], C = 1 or 3, to feature maps ``[N, F, h, w]`` of one or several layers. The weights
are frozen; gradients reach the images.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils import skip_init

from gan_lab.metrics.networks.resize import IMAGENET_MEAN, IMAGENET_STD
from gan_lab.metrics.networks.weights import load_state
from gan_lab.models.efficientnet_lite import LITE, MEAN, STD
from gan_lab.storage.downloads import Checksum, obtain_file
from gan_lab.utils.image_ops import to_rgb

INSTEAD = "perception=imagenet (pip install 'gan_lab[imagenet]') and perception=random need no download"


class PerceptualNetwork(nn.Module, ABC):
    """A network and the layers whose feature maps are compared.

    Attributes:
        name: suffix of scores.
        min_size: smallest images in pixels.
        description: of the layers.
        jitter: maximum random shift, in pixels, of the images in a loss; 0 for scores.
        gain: factor of the feature maps in a loss, which gives losses about the scale they have with VGG-19.
    """

    name: str
    min_size: int
    description: str
    jitter: int = 0
    gain: float = 1.0

    @abstractmethod
    def maps(self, images: Tensor) -> Iterator[Tensor]:
        """Feature maps of each layer, from fine to coarse, of images ``[N, C, H, W]`` in [-1, 1]."""

    def forward(self, images: Tensor) -> list[Tensor]:
        if min(images.shape[2:]) < self.min_size:
            size = "x".join(map(str, images.shape[2:]))
            raise ValueError(f"{self.name} needs images of at least {self.min_size}x{self.min_size} pixels, not {size}")
        return list(self.maps(images))

    def feature_pairs(self, fake: Tensor, real: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Feature maps of both for a loss, layer by layer, multiplied by ``gain``; without gradients of ``real``.

        Up to ``jitter`` rows and columns at the top left, the same in both, are cropped at random.
        """
        max_shift = max(0, min(self.jitter, min(real.shape[2:]) - self.min_size))
        if max_shift:
            top, left = (int(torch.randint(max_shift + 1, ())) for _ in range(2))
            fake, real = fake[:, :, top:, left:], real[:, :, top:, left:]
        with torch.no_grad():
            targets = [maps * self.gain for maps in self(real)]
        return list(zip((maps * self.gain for maps in self(fake)), targets, strict=True))

    def frozen(self) -> None:
        """Switch to evaluation mode, without gradients of the weights, in channels-last memory format."""
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class VGG19(PerceptualNetwork):
    """VGG-19 trained on ImageNet (Simonyan & Zisserman 2015); SRGAN and ESRGAN compare its last convolution.

    Args:
        folder: contains torchvision's file (548 MB), or receives the download.
        layers: names of convolutions, such as ``conv5_4``, the fourth at the fifth size; outputs before the ReLU, as in ESRGAN.

    Raises:
        ValueError: a layer is unknown, or the weights are not available.
    """

    FILE = "vgg19-dcbb9e9d.pth"
    DEPTHS = (2, 2, 4, 4, 4)
    name = "vgg19"
    mean: Tensor
    std: Tensor

    def __init__(self, folder: str, layers: list[str]) -> None:
        super().__init__()
        names = self._names()
        if unknown := [layer for layer in layers if layer not in names] or ([] if layers else ["none"]):
            raise ValueError(f"perception.layers: VGG-19 has no layer {unknown[0]}; it has {', '.join(filter(None, names))}")
        path = obtain_file(
            Path(folder).expanduser(),
            [self.FILE],
            [f"https://download.pytorch.org/models/{self.FILE}"],
            Checksum("sha256", Path(self.FILE).stem.rpartition("-")[2]),
            "perception=vgg19",
            f"set paths.weights; {INSTEAD}",
        )
        self._taps = sorted(names.index(layer) for layer in layers)
        self.description = ", ".join(layers)
        self.min_size = 2 ** (max(map(int, (layer[4] for layer in layers))) - 1)
        from torchvision.models import vgg19  # most runs don't need torchvision's models

        with torch.device("meta"):  # skips random initialization, which takes a second and uses the global generator
            all_layers = vgg19(weights=None, init_weights=False).features
        state = {n.removeprefix("features."): w for n, w in load_state(path).items() if n.startswith("features.")}
        all_layers.load_state_dict(state, assign=True)
        used = [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in all_layers[: self._taps[-1] + 1]]
        self.layers = nn.Sequential(*used)  # in-place ReLUs would overwrite the outputs of the convolutions
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.frozen()

    @classmethod
    def _names(cls) -> list[str]:
        """Names of torchvision's layers in order; empty for layers other than convolutions."""
        names = []
        for size, depth in enumerate(cls.DEPTHS, 1):
            for n in range(1, depth + 1):
                names += [f"conv{size}_{n}", ""]
            names.append("")
        return names

    def maps(self, images: Tensor) -> Iterator[Tensor]:
        x = (to_rgb(images).add(1).div(2) - self.mean) / self.std
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self._taps:
                yield x


class ImageNetPerceptual(PerceptualNetwork):
    """EfficientNet-lite trained on ImageNet (Tan & Le 2019), with weights from the package index; compared at four sizes.

    Its stride-2 convolutions give some pixels more weight than others, so that a generator trained with them shows a grid;
    random shifts (``jitter``) prevent this.

    Args:
        network: ``lite0``, used in losses, or ``lite1``, used in scores so that they are independent of the loss.
        jitter: maximum random shift in a loss, in pixels; 15 covers all positions of the coarsest layer.
        gain: factor of the feature maps in a loss.

    Raises:
        ValueError: the network is unknown, its package is not installed, or ``jitter`` or ``gain`` is out of range.
    """

    min_size = 32

    def __init__(self, network: str, jitter: int = 0, gain: float = 1.0) -> None:
        super().__init__()
        if jitter < 0 or gain <= 0:
            raise ValueError(f"perception: {jitter=} must not be negative and {gain=} must be positive")
        self.jitter, self.gain = jitter, gain
        if network not in LITE:
            raise ValueError(f"perception: {network=}: must be one of {', '.join(LITE)}")
        package = LITE[network]
        path = package.weights("perception=imagenet", "perception=random needs none")
        from efficientnet_lite_pytorch import EfficientNet  # installed together with the weights

        with torch.device("meta"):
            body = EfficientNet.from_name(f"efficientnet-{network}", image_size=None)
        body.load_state_dict(load_state(path), assign=True)
        self.name, self.description = network, f"blocks {', '.join(map(str, package.taps))}"
        self.stem = nn.Sequential(body._conv_stem, body._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(body._blocks[: package.taps[-1] + 1])
        self._taps = package.taps
        self.frozen()

    def maps(self, images: Tensor) -> Iterator[Tensor]:
        x = self.stem((to_rgb(images).add(1).mul(127.5) - MEAN) / STD)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._taps:
                yield x


class RandomPerceptual(PerceptualNetwork):
    """Untrained convolutions at three sizes, before their ReLU; sensitive to edges and their positions, but not to semantics.

    Args:
        width: channels at the first size, doubled at each further one.
        seed: of the He-initialized weights, which are the same on every machine.
    """

    name = "random"
    min_size = 8

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"perception: {width=}: must be at least 1")
        random = torch.Generator().manual_seed(seed)
        self.description = f"untrained, width {width}, seed {seed}"
        widths = [3, width, 2 * width, 4 * width]
        self.sizes = nn.ModuleList(
            nn.Sequential(_he_conv(narrow, wide, random), nn.ReLU(), _he_conv(wide, wide, random))
            for narrow, wide in pairwise(widths)
        )
        self.frozen()

    def maps(self, images: Tensor) -> Iterator[Tensor]:
        x = to_rgb(images)
        for number, layers in enumerate(self.sizes):
            x = layers(avg_pool2d(x.relu(), 2) if number else x)
            yield x


def _he_conv(inputs: int, outputs: int, random: torch.Generator) -> Any:
    """A 3x3 convolution with He-initialized weights."""
    layer = skip_init(nn.Conv2d, inputs, outputs, 3, 1, 1)  # default initialization would use the global generator
    with torch.no_grad():
        layer.weight.normal_(0.0, math.sqrt(2.0 / (9 * inputs)), generator=random)
        layer.bias.zero_()
    return layer
