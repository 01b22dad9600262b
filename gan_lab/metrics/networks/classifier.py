"""Features of a small classifier that was trained on the labels of the dataset."""

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
from gan_lab.metrics.networks.base import FeatureDomain, FeatureNetwork, FeatureSource, NetworkOutput, fingerprint
from gan_lab.storage.files import atomic_file
from gan_lab.storage.safe_load import load_tensors
from gan_lab.utils.image_ops import to_rgb

SHIPPED = Path(gan_lab.metrics.__path__[0]) / "weights"
"""Folder of the classifiers in the package."""

FORMAT = 1


@dataclass(frozen=True)
class ClassifierMetadata:
    """Describes a classifier and its training; stored with its weights.

    Attributes:
        name: of the features; scores are called ``fd_<name>``.
        domains: names of the datasets it is for.
        size, channels: of its input; images of other sizes are resized.
        classes: names of the classes.
        width: channels of its first layer.
        multi_label: whether the classes are attributes, any number of which apply to an image.
        accuracy: on held-out images, in [0, 1]; for attributes, the mean over images and attributes.
        held_out: description of these images.
        seed: of the initial weights and the order of images.
        epochs: passes over the training images.
        images: number of training images.
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
    """Four 3x3 convolutions with batch normalization, three with max pooling, then global average pooling and a linear layer.

    The features are the input of the linear layer: ``4 * width`` non-negative numbers.

    Args:
        metadata: determines the architecture.
    """

    def __init__(self, metadata: ClassifierMetadata) -> None:
        super().__init__()
        self.metadata = metadata
        w = metadata.width
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise([metadata.channels, w, 2 * w, 4 * w]):
            layers += [*_convolution(narrow, wide), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers, *_convolution(4 * w, 4 * w), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 * w, len(metadata.classes))
        self.name = metadata.name
        self.classes = () if metadata.multi_label else metadata.classes
        self.num_features, self.num_classes = 4 * w, len(self.classes)
        size = metadata.size
        self.description = (
            f"classifier of {metadata.name} ({metadata.accuracy:.2%} of {metadata.held_out}), {size}x{size}, antialiased"
        )

    def preprocess(self, images: Tensor) -> Tensor:
        """Resize to the classifier's input size (bilinear with antialiasing) and scale to [-1, 1]."""
        images = to_rgb(images) if self.metadata.channels == 3 else images
        values = images.float()
        size = self.metadata.size
        if values.shape[-1] != size or values.shape[-2] != size:
            values = interpolate(values, (size, size), mode="bilinear", antialias=True)
        return values.div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)

    def classify(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[N, 4 * width]`` and logits ``[N, classes]`` of preprocessed images, differentiable for training."""
        features = self.body(values)
        return features, self.head(features)

    def extract(self, values: Tensor) -> NetworkOutput:
        features, logits = self.classify(values)
        return NetworkOutput(features, logits if self.num_classes else None)  # logits of attributes are no distribution

    def frozen(self) -> Classifier:
        """Switch to evaluation mode, without gradients, and set the fingerprint; returns the network."""
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.fingerprint = fingerprint(self)
        return self

    def save(self, path: Path) -> None:
        """Store weights and metadata. The weights are stored in half precision, which does not affect the accuracy."""
        state = {name: t.half() if t.is_floating_point() else t for name, t in self.state_dict().items()}
        metadata = {**asdict(self.metadata), "domains": list(self.metadata.domains), "classes": list(self.metadata.classes)}
        with atomic_file(path) as handle:
            torch.save({"format": FORMAT, "knowledge": metadata, "state": state}, handle)

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Load a stored classifier, ready for use.

        Raises:
            ValueError: the file is damaged, or not a classifier that this version can read.
        """
        stored = _read(path)
        with torch.random.fork_rng(devices=[]):
            network = cls(_metadata(stored["knowledge"]))
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in stored["state"].items()})
        return network.frozen()


class StackedClassifier(FeatureNetwork):
    """A digit classifier applied to each color channel of Stacked-MNIST, which has 1,000 classes (Metz et al. 2017).

    Class ``100 a + 10 b + c`` stands for the digits a, b and c in red, green and blue; their features are concatenated.

    Args:
        single: classifier of gray digits.
    """

    def __init__(self, single: Classifier) -> None:
        super().__init__()
        self.single = single
        self.name = f"stacked_{single.name}"
        self.num_features, self.num_classes = 3 * single.num_features, single.num_classes**3
        self.classes = tuple(f"{n:03d}" for n in range(self.num_classes))
        self.description = f"on each colour: {single.description}"  # stored with scores: do not change
        self.fingerprint = fingerprint(self)

    def preprocess(self, images: Tensor) -> Tensor:
        return self.single.preprocess(images.reshape(-1, 1, *images.shape[2:]))

    def extract(self, values: Tensor) -> NetworkOutput:
        count = len(values) // 3
        features, logits = self.single.extract(values)
        assert logits is not None
        a, b, c = logits.log_softmax(1).view(count, 3, -1).unbind(1)
        joint = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]
        return NetworkOutput(features.view(count, -1), joint.flatten(1))


class DatasetClassifier(FeatureSource):
    """The classifier that was trained on the labels of the dataset, from a folder or from the package.

    Args:
        folder: contains the classifiers trained with ``fit_features=true``.
        file: use this classifier for all datasets: a path, or the name of a classifier in the package.
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
        try:
            network = Classifier.load(path)
        except ValueError as error:
            raise ValueError(
                f"features.dataset_classifier.file={path}: {error}" if path == self._file else str(error)
            ) from error
        if domain.channels > network.metadata.channels and domain.name != STACKED:
            raise ValueError(f"evaluation.features=dataset_classifier: {path} is for gray images, but these are in color")
        return StackedClassifier(network) if domain.name == STACKED else network

    def path_for(self, domain: FeatureDomain) -> Path:
        """Path of the classifier trained on such images."""
        return self._folder / f"classifier-{domain.name}-{domain.channels}.pt"

    def _find(self, domain: FeatureDomain) -> Path | None:
        if self._file is not None:
            return self._file
        if domain.name == STACKED:
            domain = FeatureDomain("mnist", 1, domain.size)
        own = self.path_for(domain)
        if own.is_file():
            return own
        return next((path for path in sorted(SHIPPED.glob("*.pt")) if _matches(_read(path)["knowledge"], domain)), None)


STACKED = "stacked_mnist"


def _shipped() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.pt"))


def _convolution(narrow: int, wide: int) -> list[nn.Module]:
    return [nn.Conv2d(narrow, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]


def _matches(metadata: Mapping[str, Any], domain: FeatureDomain) -> bool:
    return domain.name in metadata["domains"] and domain.channels == metadata["channels"]


def _metadata(stored: Mapping[str, Any]) -> ClassifierMetadata:
    return ClassifierMetadata(**{**stored, "domains": tuple(stored["domains"]), "classes": tuple(stored["classes"])})


def _read(path: Path) -> dict[str, Any]:
    stored = load_tensors(path, "not a classifier of gan_lab")
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a classifier that this version of gan_lab can read; train it again with fit_features=true"
        )
    return stored
