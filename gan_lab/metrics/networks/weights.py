"""Published weights: found under ``paths.weights`` or downloaded there, checked, read without running code, and put to use."""

from __future__ import annotations

import functools
import hashlib
import pickle
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gan_lab.metrics.networks.base import FeatureNetwork, NetworkOutput, fingerprint
from gan_lab.metrics.networks.resize import Preprocessing

PREFIX = 8
"""Hexadecimal digits of a SHA-256 sum in the name of a file, torch hub's convention."""

CPU_PART = 16
"""Images in a pass on a CPU: with more, what a layer leaves outgrows the caches, and a pass takes up to three times as long."""

INSTEAD = "evaluation.features=dataset_classifier or random go without"
"""Said where a network can't be had."""


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal; read again only after it has changed."""
    about = path.stat()
    return _sha256(path, about.st_size, about.st_mtime_ns)


def find(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of ``names`` that is a file in ``folder``."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def obtain(
    folder: Path, names: Sequence[str], addresses: Sequence[str], sha256_prefix: str | None, what: str, instead: str = ""
) -> Path:
    """A published file under any of its usual names, downloaded under the first of them if it isn't there.

    Args:
        folder: where it is looked for.
        names: the usual ones.
        addresses: where it is published; the first that answers is taken.
        sha256_prefix: what its checksum begins with; None if that is not known.
        what: what needs it, for the message.
        instead: what else would do, for the message.

    Raises:
        ValueError: it can't be had, or is another file; the message says which to put where.
    """
    path = find(folder, names)
    if path is not None:
        return path if sha256_prefix is None else verified(path, sha256_prefix, what)
    path = folder / names[0]
    reasons = []
    for address in addresses:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # to a temporary name beside it, renamed once it is whole and right
            torch.hub.download_url_to_file(address, str(path), hash_prefix=sha256_prefix, progress=False)
        except (OSError, RuntimeError, HTTPException) as error:
            reasons.append(f"{address}: {error}")
        else:
            return path
    checksum = "" if sha256_prefix is None else f" (its SHA-256 begins with {sha256_prefix})"
    raise ValueError(
        f"{what} needs {path}, which is not there and could not be downloaded ({'; '.join(reasons)}). Put the published "
        f"{names[0]} there{checksum}, or set paths.weights{instead and f'; {instead}'}"
    )


def verified(path: Path, sha256_prefix: str, what: str) -> Path:
    """``path``, if its content is the published one.

    Raises:
        ValueError: it is not.
    """
    found = sha256(path)
    if not found.startswith(sha256_prefix):
        raise ValueError(
            f"{what}: {path} is not the published file (its SHA-256 begins with {found[: len(sha256_prefix)]} instead of "
            f"{sha256_prefix}); remove it"
        )
    return path


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names, on the CPU.

    Raises:
        ValueError: it is damaged, or holds anything else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{path} is damaged or holds no weights ({reason})") from error
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
        return find(self._folder, self._published.names) is not None if self._file is None else self._file.is_file()

    def load(self) -> Loaded:
        """Read, after a download if need be.

        Raises:
            ValueError: there are none, or they are damaged or not the published ones.
        """
        published, prefix, path = self._published, self._published.sha256_prefix, self._file
        what = f"evaluation.features={published.features}"
        if path is None:
            path = obtain(self._folder, published.names, [published.address], prefix, what, INSTEAD)
            return Loaded(load_state(path), path, sha256(path), True)
        if not path.is_file():
            raise ValueError(f"{what}: features.{published.features}.weights={path} is not there")
        return Loaded(load_state(path), path, sha256(path), prefix is not None and sha256(path).startswith(prefix))


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


@functools.cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
