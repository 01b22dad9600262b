"""Published weights: found under ``paths.weights`` or downloaded there, checked, read without running code, and put to use."""

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
"""Hexadecimal digits of a SHA-256 sum in the name of a file, torch hub's convention."""

CPU_PART = 16
"""Images in a pass on a CPU: with more, what a layer leaves outgrows the caches, and a pass takes up to three times as long."""

INSTEAD = "evaluation.features=dataset_classifier or random go without"
"""Said where a network can't be had."""


def sha256(path: Path) -> str:
    """The SHA-256 checksum of a file, in hexadecimal."""
    return file_digest(path, "sha256")


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names, on the CPU.

    Raises:
        ValueError: the file is damaged, or contains anything else.
    """
    state = load_tensors(path, "holds no weights")
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no weights: a file of named tensors is wanted")
    return state


@dataclass(frozen=True)
class Published:
    """A file of weights as its authors publish it.

    Attributes:
        features: the option of ``evaluation.features`` it is for.
        names: the file's usual ones, its authors' first.
        address: where it can be downloaded.
        sha256_prefix: what its checksum begins with, if they tell.
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
    """Weights, and where they are from.

    Attributes:
        state: tensors by their names.
        path: the file.
        sha256: its checksum.
        published: whether it is the published one, as far as can be told.
    """

    state: dict[str, Tensor]
    path: Path
    sha256: str
    published: bool

    def name(self, of_published: str) -> str:
        """That of the features: with a part of the checksum unless published, so that no others make a score of that name."""
        return of_published if self.published else f"{of_published}_{self.sha256[:PREFIX]}"

    def fill(self, network: nn.Module, state: Mapping[str, Tensor] | None = None) -> None:
        """Make these the weights of a network, which may be on the meta device; or ``state``, if its names had to change.

        Raises:
            ValueError: they are another network's.
        """
        try:
            network.load_state_dict(self.state if state is None else state, assign=True)
        except RuntimeError as error:
            raise self.misfit(error) from error

    def misfit(self, error: Exception) -> ValueError:
        """What to say when they are another network's."""
        return ValueError(f"{self.path} holds the weights of another network ({' '.join(str(error).split())[:200]} ...)")


class Weights:
    """Where a network's weights come from: the published file, or one of the user's.

    Args:
        published: the former.
        folder: where that is looked for, or downloaded to.
        file: the latter; None is the published one.
    """

    def __init__(self, published: Published, folder: str, file: str | None) -> None:
        self._published = published
        self._folder = Path(folder).expanduser()
        self._file = None if file is None else Path(file).expanduser()

    def are_available(self) -> bool:
        """Whether the file is; not whether it is the right one, which takes reading it."""
        return find_file(self._folder, self._published.names) is not None if self._file is None else self._file.is_file()

    def load(self) -> Loaded:
        """Read, after a download if need be.

        Raises:
            ValueError: there are none, or they are damaged or not the published ones.
        """
        published, checksum, path = self._published, self._published.checksum, self._file
        what = f"evaluation.features={published.features}"
        if path is None:
            advice = f"set paths.weights; {INSTEAD}"
            path = obtain_file(self._folder, published.names, [published.address], checksum, what, advice)
            return Loaded(load_state(path), path, sha256(path), True)
        if not path.is_file():
            raise ValueError(f"{what}: features.{published.features}.weights={path} is not there")
        return Loaded(load_state(path), path, sha256(path), checksum is not None and checksum.matches(path))


class Pretrained(FeatureNetwork):
    """A network with weights from a file.

    Args:
        name: of the features.
        weights: loaded.
        prepare: from images to what the network takes.
        description: what it is.
    """

    def __init__(self, name: str, weights: Loaded, prepare: Preprocessing, description: str) -> None:
        super().__init__()
        self.name, self.prepare = name, prepare
        source = "published weights" if weights.published else weights.path.name
        self.description = f"{description} ({source}, {weights.sha256[:PREFIX]}), {prepare.description}"
        self.fingerprint = fingerprint(prepare, description, weights.sha256, prepare.description)

    @abstractmethod
    def forward_features(self, values: Tensor) -> NetworkOutput:
        """One pass over prepared images, float32 ``[N, 3, S, S]``."""

    def preprocess(self, images: Tensor) -> Tensor:
        values: Tensor = self.prepare(images)
        return values

    def extract(self, values: Tensor) -> NetworkOutput:
        return _joined([self.forward_features(part) for part in _parts(values)])

    @torch.no_grad()
    def forward(self, images: Tensor) -> NetworkOutput:
        # prepared part by part: a whole batch at 299 pixels would fill the memory
        return _joined([self.forward_features(self.preprocess(part)) for part in _parts(images)])

    def frozen(self) -> Self:
        """Ready for use: in evaluation mode, without gradients, laid out as convolutions are fastest."""
        return self.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def fuse_conv_bn(network: nn.Module, pairs: Sequence[tuple[str, str]]) -> None:
    """Merge each batch normalisation into the convolution before it: the same function, a tenth faster on a CPU.

    Args:
        network: in evaluation mode.
        pairs: attributes of its modules: the convolution's, the normalisation's.
    """
    for module in list(network.modules()):
        for convolution, norm in pairs:
            if hasattr(module, convolution):
                setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
                setattr(module, norm, nn.Identity())


def _parts(images: Tensor) -> tuple[Tensor, ...]:
    return images.split(CPU_PART) if images.device.type == "cpu" else (images,)


def _joined(parts: list[NetworkOutput]) -> NetworkOutput:
    if len(parts) == 1:
        return parts[0]
    logits = [part.logits for part in parts if part.logits is not None]
    return NetworkOutput(torch.cat([part.features for part in parts]), torch.cat(logits) if logits else None)
