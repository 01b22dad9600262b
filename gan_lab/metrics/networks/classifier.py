"""Domain features: those of a small classifier that has learnt the labels of the data set itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import gan_lab.metrics
from gan_lab.metrics.networks.base import FeatureDomain, FeatureNetwork, FeatureSource, NetworkOutput, fingerprint, to_rgb
from gan_lab.storage.files import atomic_file
from gan_lab.storage.safe_load import load_tensors

SHIPPED = Path(gan_lab.metrics.__path__[0]) / "weights"
"""Classifiers inside the package."""

FORMAT = 1


@dataclass(frozen=True)
class ClassifierMetadata:
    """What a classifier has learnt, and how well: stored with its weights.

    Attributes:
        name: of the features; scores are called ``fd_<name>``.
        domains: the data sets it is for.
        size, channels: of the images it takes; others are resized.
        classes: their names.
        width: of its first layer.
        multi_label: whether the classes are attributes, any number of which an image may have.
        accuracy: share of held-out images it tells, in [0, 1]; of attributes the share of all of them.
        held_out: which images those were.
        seed: of its weights and of the order of images.
        epochs: passes over the training images.
        images: how many there were.
    """

    name: str
    domains: tuple[str, ...]
    size: int
    channels: int
    classes: tuple[str, ...]
    width: int
    multi_label: bool
    accuracy: float
    held_out: str
    seed: int
    epochs: float
    images: int


class Classifier(FeatureNetwork):
    """Three stages of 3x3 convolutions with batch normalisation, each halving the size, a mean over places, one dense layer.

    The features are what the dense layer sees: ``4 * width`` numbers, none negative.

    Args:
        knowledge: what it has learnt, or is to learn.
    """

    def __init__(self, knowledge: ClassifierMetadata) -> None:
        super().__init__()
        self.metadata = knowledge
        w = knowledge.width
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise([knowledge.channels, w, 2 * w, 4 * w]):
            layers += [*_convolution(narrow, wide), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers, *_convolution(4 * w, 4 * w), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 * w, len(knowledge.classes))
        self.name = knowledge.name
        self.classes = () if knowledge.multi_label else knowledge.classes
        self.num_features, self.num_classes = 4 * w, len(self.classes)
        side = knowledge.size
        self.description = (
            f"classifier of {knowledge.name} ({knowledge.accuracy:.2%} of {knowledge.held_out}), {side}x{side}, antialiased"
        )

    def preprocess(self, images: Tensor) -> Tensor:
        """uint8 of any size to float32 in [-1, 1] of its own."""
        images = to_rgb(images) if self.metadata.channels == 3 else images
        values = images.float()
        side = self.metadata.size
        if values.shape[-1] != side or values.shape[-2] != side:
            values = interpolate(values, (side, side), mode="bilinear", antialias=True)
        return values.div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)

    def judge(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of :meth:`preprocess` images, with gradients where they are wanted."""
        features = self.body(values)
        return features, self.head(features)

    def extract(self, values: Tensor) -> NetworkOutput:
        features, logits = self.judge(values)
        return NetworkOutput(features, logits if self.num_classes else None)  # attributes do not exclude each other

    def frozen(self) -> Classifier:
        """Ready for use: in evaluation mode, without gradients, with its fingerprint."""
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.fingerprint = fingerprint(self)
        return self

    def save(self, path: Path) -> None:
        """Weights, in half precision, which is as good and takes half of the space, and what they know."""
        state = {name: t.half() if t.is_floating_point() else t for name, t in self.state_dict().items()}
        knowledge = {**asdict(self.metadata), "domains": list(self.metadata.domains), "classes": list(self.metadata.classes)}
        with atomic_file(path) as handle:
            torch.save({"format": FORMAT, "knowledge": knowledge, "state": state}, handle)

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """A stored classifier, ready for use.

        Raises:
            ValueError: it is damaged, or none of this version.
        """
        stored = _read(path)
        with torch.random.fork_rng(devices=[]):
            network = cls(_knowledge(stored["knowledge"]))
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in stored["state"].items()})
        return network.frozen()


class StackedClassifier(FeatureNetwork):
    """A classifier of grey images applied to each of three colours: a thousand classes of three digits (Metz et al. 2017).

    Class ``100 a + 10 b + c`` is that of the digits in red, green and blue; features are the three's side by side.
    """

    def __init__(self, single: Classifier) -> None:
        super().__init__()
        self.single = single
        self.name = f"stacked_{single.name}"
        self.num_features, self.num_classes = 3 * single.num_features, single.num_classes**3
        self.classes = tuple(f"{n:03d}" for n in range(self.num_classes))
        self.description = f"on each colour: {single.description}"
        self.fingerprint = fingerprint(self)

    def preprocess(self, images: Tensor) -> Tensor:
        return self.single.preprocess(images.reshape(-1, 1, *images.shape[2:]))

    def extract(self, values: Tensor) -> NetworkOutput:
        count = len(values) // 3
        features, logits = self.single.extract(values)
        assert logits is not None
        a, b, c = logits.log_softmax(1).view(count, 3, -1).unbind(1)
        together = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]
        return NetworkOutput(features.view(count, -1), together.flatten(1))


class DatasetClassifier(FeatureSource):
    """The classifier that has learnt a data set's labels: inside the package, or fitted and kept in a folder.

    Args:
        folder: where ``fit_features=true`` keeps them.
        file: this one instead, whatever it was fitted on: a path, or the name of one inside the package.
    """

    def __init__(self, folder: str, file: str | None = None) -> None:
        self._folder = Path(folder).expanduser()
        self._file = None if file is None else SHIPPED / f"{file}.pt" if file in _shipped() else Path(file).expanduser()

    def is_available(self, domain: FeatureDomain) -> bool:
        return self._find(domain) is not None

    def load(self, domain: FeatureDomain) -> FeatureNetwork:
        path = self._find(domain)
        if path is None:
            raise ValueError(
                f"evaluation.features=dataset_classifier: no classifier was trained on {domain.name or 'these images'} in "
                f"{'color' if domain.channels == 3 else 'grayscale'}; train one with "
                "python -m gan_lab.evaluate fit_features=true dataset=... if the images have labels, or name "
                "a file, features.dataset_classifier.file=... "
                f"(the package has {', '.join(_shipped())})"
            )
        network = Classifier.load(path)
        if domain.channels > network.metadata.channels and domain.name != STACKED:
            raise ValueError(f"evaluation.features=dataset_classifier: {path} knows grey images, and these are in colour")
        return StackedClassifier(network) if domain.name == STACKED else network

    def path_for(self, domain: FeatureDomain) -> Path:
        """Where a classifier fitted on such images is kept."""
        return self._folder / f"classifier-{domain.name}-{domain.channels}.pt"

    def _find(self, domain: FeatureDomain) -> Path | None:
        if self._file is not None:
            return self._file
        if domain.name == STACKED:
            domain = FeatureDomain("mnist", 1, domain.size)
        own = self.path_for(domain)
        if own.is_file():
            return own
        return next((path for path in sorted(SHIPPED.glob("*.pt")) if _is_for(_read(path)["knowledge"], domain)), None)


STACKED = "stacked_mnist"


def _shipped() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.pt"))


def _convolution(narrow: int, wide: int) -> list[nn.Module]:
    return [nn.Conv2d(narrow, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]


def _is_for(knowledge: Mapping[str, Any], domain: FeatureDomain) -> bool:
    return domain.name in knowledge["domains"] and domain.channels == knowledge["channels"]


def _knowledge(stored: Mapping[str, Any]) -> ClassifierMetadata:
    return ClassifierMetadata(**{**stored, "domains": tuple(stored["domains"]), "classes": tuple(stored["classes"])})


def _read(path: Path) -> dict[str, Any]:
    stored = load_tensors(path, "no classifier of gan_lab")
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ValueError(f"{path} is not a classifier that this version of gan_lab can read; fit_features=true trains it anew")
    return stored
