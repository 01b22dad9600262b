"""Pretrained weights: found in ``paths.weights`` or downloaded there, verified, and read without executing pickled code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gan_lab.metrics.networks.base import FeatureNetwork, NetworkOutput, fingerprint
from gan_lab.metrics.networks.resize import Preprocessing
from gan_lab.storage.downloads import Checksum, file_digest, find_file, obtain_file
from gan_lab.storage.safe_load import load_tensors

PREFIX = 8
"""Hexadecimal digits of a SHA-256 checksum in file names, as in torch hub."""

CPU_PART = 16
"""Images in a forward pass on a CPU; larger batches exceed the caches and take up to three times as long per image."""

INSTEAD = "evaluation.features=dataset_classifier and random need no download"
"""Appended to messages about a network that is not available."""


def sha256(path: Path) -> str:
    """SHA-256 checksum of a file, in hexadecimal."""
    return file_digest(path, "sha256")


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, on the CPU.

    Raises:
        ValueError: the file is damaged, or contains something other than named tensors.
    """
    state = load_tensors(path, "holds no weights")
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no weights: it must contain a dictionary of tensors")
    return state


@dataclass(frozen=True)
class Published:
    """A published file of weights.

    Attributes:
        features: the option of ``evaluation.features`` it belongs to.
        names: usual file names, the authors' name first.
        address: download URL.
        sha256_prefix: first digits of its checksum, if published.
    """

    features: str
    names: Sequence[str]
    address: str
    sha256_prefix: str | None

    @property
    def checksum(self) -> Checksum | None:
        return None if self.sha256_prefix is None else Checksum("sha256", self.sha256_prefix)


@dataclass(frozen=True)
class Loaded:
    """Weights and their origin.

    Attributes:
        state: the state dict.
        path: of the file.
        sha256: checksum of the file.
        published: whether it is the published file, according to its checksum, or else its name.
    """

    state: dict[str, Tensor]
    path: Path
    sha256: str
    published: bool

    def name(self, published_name: str) -> str:
        """Name of the features. Other weights than the published ones get a part of their checksum appended."""
        return published_name if self.published else f"{published_name}_{self.sha256[:PREFIX]}"

    def fill(self, network: nn.Module, state: Mapping[str, Tensor] | None = None) -> None:
        """Load the weights into a network, which may be on the meta device.

        Args:
            network: to load into.
            state: a state dict with converted names; None: :attr:`state`.

        Raises:
            ValueError: the weights belong to another network.
        """
        try:
            network.load_state_dict(self.state if state is None else state, assign=True)
        except RuntimeError as error:
            raise self.mismatch(error) from error

    def mismatch(self, error: Exception) -> ValueError:
        """The error to raise for weights of another network."""
        return ValueError(f"{self.path} holds the weights of another network ({' '.join(str(error).split())[:200]} ...)")


class Weights:
    """The source of a network's weights: the published file or a file of the user.

    Args:
        published: the published file.
        folder: contains the published file, or receives the download.
        file: path of the user's file; None: the published one.
    """

    def __init__(self, published: Published, folder: str, file: str | None) -> None:
        self._published = published
        self._folder = Path(folder).expanduser()
        self._file = None if file is None else Path(file).expanduser()

    def are_available(self) -> bool:
        """Whether the published file exists, or a file was named; its content is not checked."""
        return self._file is not None or find_file(self._folder, self._published.names) is not None

    def load(self) -> Loaded:
        """Read the weights, downloading them if necessary.

        Raises:
            ValueError: the file is missing and can't be downloaded, is damaged, or differs from the published one.
        """
        published, checksum, path = self._published, self._published.checksum, self._file
        what = f"evaluation.features={published.features}"
        if path is None:
            advice = f"set paths.weights; {INSTEAD}"
            path = obtain_file(self._folder, published.names, [published.address], checksum, what, advice)
            return Loaded(load_state(path), path, sha256(path), True)
        if not path.is_file():
            raise ValueError(f"features.{published.features}.weights={path}: there is no such file")
        try:
            state = load_state(path)
        except ValueError as error:
            raise ValueError(f"features.{published.features}.weights={path}: {error}") from error
        return Loaded(state, path, sha256(path), checksum is not None and checksum.matches(path))


class Pretrained(FeatureNetwork):
    """A feature network with weights from a file.

    Args:
        name: of the features.
        weights: the origin of the weights.
        prepare: preprocessing of the images.
        description: of the network, without weights and preprocessing.
    """

    def __init__(self, name: str, weights: Loaded, prepare: Preprocessing, description: str) -> None:
        super().__init__()
        self.name, self.prepare = name, prepare
        source = "published weights" if weights.published else weights.path.name
        self.description = f"{description} ({source}, {weights.sha256[:PREFIX]}), {prepare.description}"
        self.fingerprint = fingerprint(prepare, description, weights.sha256, prepare.description)

    @abstractmethod
    def forward_features(self, values: Tensor) -> NetworkOutput:
        """Forward pass of preprocessed images, float32 ``[N, 3, S, S]``."""

    def preprocess(self, images: Tensor) -> Tensor:
        values: Tensor = self.prepare(images)
        return values

    def extract(self, values: Tensor) -> NetworkOutput:
        return _concatenate([self.forward_features(part) for part in _split(values)])

    @torch.no_grad()
    def forward(self, images: Tensor) -> NetworkOutput:
        # preprocessed in parts: a whole batch of 299 pixels takes too much memory
        return _concatenate([self.forward_features(self.preprocess(part)) for part in _split(images)])

    def frozen(self) -> Self:
        """Switch to evaluation mode, without gradients, in channels-last memory format; returns the network."""
        return self.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def fuse_conv_bn(network: nn.Module, names: Sequence[tuple[str, str]]) -> None:
    """Fold each batch normalization into the convolution before it, in place: 10 % faster on a CPU.

    Args:
        network: in evaluation mode.
        names: attribute names, in any submodule, of a convolution and its batch normalization.
    """
    for module in list(network.modules()):
        for convolution, norm in names:
            if hasattr(module, convolution):
                setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
                setattr(module, norm, nn.Identity())


def _split(images: Tensor) -> tuple[Tensor, ...]:
    return images.split(CPU_PART) if images.device.type == "cpu" else (images,)


def _concatenate(parts: list[NetworkOutput]) -> NetworkOutput:
    if len(parts) == 1:
        return parts[0]
    logits = [part.logits for part in parts if part.logits is not None]
    return NetworkOutput(torch.cat([part.features for part in parts]), torch.cat(logits) if logits else None)
