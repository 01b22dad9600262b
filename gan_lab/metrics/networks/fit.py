"""Trains a classifier on the labels of a dataset, for use as a feature network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, pad

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.networks.classifier import Classifier, ClassifierMetadata

MIN_SIZE = 8
"""Smallest images in pixels: three poolings leave one pixel."""

MIN_ACCURACY = 1.2
"""Smallest accuracy, as a multiple of random guessing."""


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters: AdamW with the 1cycle learning-rate schedule (Smith & Topin 2018), on randomly shifted images.

    Attributes:
        width: channels of the first layer; there are ``4 * width`` features.
        epochs: passes over the training images.
        batch_size: images per step.
        lr: maximum learning rate.
        weight_decay: of AdamW.
        shift: maximum shift of a batch in each direction, in pixels.
        mirror: whether batches are flipped horizontally with probability 1/2.

    Raises:
        ValueError: a value is not positive, or ``shift`` is negative.
    """

    width: int
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    shift: int
    mirror: bool

    def __post_init__(self) -> None:
        if min(self.width, self.epochs, self.batch_size) < 1 or self.lr <= 0 or self.shift < 0:
            raise ValueError(f"fit.recipe: {self}: width, epochs, batch_size and lr must be positive and shift not negative")


def fit(
    train: ImageDataset,
    held_out: ImageDataset,
    held_out_name: str,
    name: str,
    domains: Sequence[str],
    recipe: Recipe,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Classifier:
    """Train a classifier on ``train`` and measure its accuracy on ``held_out``.

    Args:
        train: labeled images to train on.
        held_out: labeled images for the accuracy.
        held_out_name: describes them, such as ``10,000 test images``.
        name: of the features.
        domains: names of the datasets the classifier is for.
        recipe: hyperparameters.
        seed: of the initial weights and the order of images; the global generator is not used.
        device: to train on.
        progress: called with the number of images seen and the total.

    Returns:
        The classifier, ready for use.

    Raises:
        ValueError: there are no labels, unlabeled images, too small images, or the accuracy is that of guessing.
    """
    for part in (train, held_out):
        labels = part.labels_of(slice(None))
        if labels is None or len(part.classes) < 2:
            raise ValueError("fit_features: the dataset has no classes; evaluation.features=random needs none")
        if (labels < 0).any():
            raise ValueError("fit_features: some images have no label; exclude them with dataset.split or dataset.classes")
    channels, size, _ = train.shape
    if size < MIN_SIZE:
        raise ValueError(f"fit_features: images must have at least {MIN_SIZE}x{MIN_SIZE} pixels, not {size}x{size}")
    metadata = ClassifierMetadata(
        name=name,
        domains=tuple(domains),
        size=size,
        channels=channels,
        classes=tuple(train.classes),
        width=recipe.width,
        multi_label=train.multi_label,
        accuracy=0.0,
        held_out=held_out_name,
        seed=seed,
        epochs=recipe.epochs,
        images=len(train),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(metadata).to(device).to(memory_format=torch.channels_last)
    _train(network, train, recipe, seed, progress)
    measured = accuracy(network, held_out, recipe.batch_size)
    if measured <= MIN_ACCURACY / len(train.classes) and not train.multi_label:
        raise ValueError(
            f"fit_features: the accuracy is {measured:.1%} of {held_out_name}, hardly above chance; use more images or "
            "a larger fit.recipe.epochs"
        )
    network.metadata = replace(metadata, accuracy=measured)
    return network.frozen()


@torch.no_grad()
def accuracy(network: Classifier, data: ImageDataset, batch_size: int) -> float:
    """Fraction of correct classes, or of correct attributes over all images, in [0, 1]."""
    network.eval()
    correct = total = 0
    for start in range(0, len(data), batch_size):
        images, labels = _batch(data, slice(start, start + batch_size), network)
        _, logits = network.classify(network.preprocess(images))
        hits = (logits > 0) == (labels > 0) if data.multi_label else logits.argmax(1) == labels
        correct, total = correct + int(hits.sum()), total + hits.numel()
    return correct / total


def _train(network: Classifier, data: ImageDataset, recipe: Recipe, seed: int, progress: Callable[[int, int], None]) -> None:
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    batch_size = min(recipe.batch_size, len(data))
    steps = len(data) // batch_size * recipe.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, steps)
    loss = binary_cross_entropy_with_logits if data.multi_label else cross_entropy
    network.train()
    done = 0
    for _ in range(recipe.epochs):
        for index in torch.randperm(len(data), generator=random).split(batch_size):
            if len(index) < batch_size:
                continue
            images, labels = _batch(data, index, network)
            _, logits = network.classify(_augment(network.preprocess(images), recipe, random))
            optimizer.zero_grad(set_to_none=True)
            loss(logits, labels.float() if data.multi_label else labels).backward()
            optimizer.step()
            schedule.step()
            done += 1
            progress(done * batch_size, steps * batch_size)


def _augment(values: Tensor, recipe: Recipe, random: torch.Generator) -> Tensor:
    """Shift, and possibly flip, all images of a batch alike."""
    s, size = recipe.shift, values.shape[-1]
    top, left = (int(torch.randint(2 * s + 1, (), generator=random)) for _ in range(2))
    values = pad(values, (s, s, s, s), mode="replicate")[:, :, top : top + size, left : left + size]
    flip = recipe.mirror and bool(torch.randint(2, (), generator=random))
    return (values.flip(3) if flip else values).contiguous(memory_format=torch.channels_last)


def _batch(data: ImageDataset, index: Tensor | slice, network: Classifier) -> tuple[Tensor, Tensor]:
    """uint8 images and labels on the network's device."""
    device = network.head.weight.device
    labels = data.labels_of(index)
    assert labels is not None
    return data.images(index).to(device), labels.to(device)
