"""How a classifier learns the labels of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, pad

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.networks.classifier import Classifier, ClassifierMetadata

SMALLEST = 8
"""Pixels that three halvings leave one of."""

CHANCES = 1.2
"""Times the share that guessing gets right: a classifier that knows no more has no features worth the name."""


@dataclass(frozen=True)
class Recipe:
    """AdamW under a rate that rises and falls once (Smith & Topin 2018), on images shifted by a few pixels.

    Attributes:
        width: of the first layer; four times as many features.
        epochs: passes over the training images.
        batch_size: images in a step.
        lr: the highest learning rate.
        weight_decay: AdamW's.
        shift: largest shift of a batch in each direction, in pixels.
        mirror: whether every other batch is mirrored left to right.
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
            raise ValueError(f"fit: {self}: width, epochs, batch_size and lr must be positive, and shift not negative")


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
    """A classifier that has learnt ``train``'s labels and knows how many of ``held_out``'s it tells.

    Raises:
        ValueError: no labels, unlabelled images, or too few of anything.
    """
    for part in (train, held_out):
        labels = part.labels_of(slice(None))
        if labels is None or len(part.classes) < 2:
            raise ValueError("fit_features: the data set has no classes to learn; evaluation.features=random needs none")
        if (labels < 0).any():
            raise ValueError("fit_features: some images have no label; dataset.split or dataset.classes leaves them out")
    channels, size, _ = train.shape
    if size < SMALLEST:
        raise ValueError(f"fit_features: {size} pixels across: at least {SMALLEST} are needed")
    knowledge = ClassifierMetadata(
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
        network = Classifier(knowledge).to(device).to(memory_format=torch.channels_last)
    _learn(network, train, recipe, seed, progress)
    told = accuracy(network, held_out, recipe.batch_size)
    if told <= CHANCES / len(train.classes) and not train.multi_label:
        raise ValueError(
            f"fit_features: it tells {told:.1%} of {held_out_name}, hardly more than chance: more images or fit.recipe.epochs"
        )
    network.metadata = replace(knowledge, accuracy=told)
    return network.frozen()


@torch.no_grad()
def accuracy(network: Classifier, data: ImageDataset, batch_size: int) -> float:
    """Share of images, or of attributes, told rightly."""
    network.eval()
    right = total = 0
    for start in range(0, len(data), batch_size):
        images, labels = _batch(data, slice(start, start + batch_size), network)
        _, logits = network.judge(network.preprocess(images))
        told = (logits > 0) == (labels > 0) if data.multi_label else logits.argmax(1) == labels
        right, total = right + int(told.sum()), total + told.numel()
    return right / total


def _learn(network: Classifier, data: ImageDataset, recipe: Recipe, seed: int, progress: Callable[[int, int], None]) -> None:
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    batch_size = min(recipe.batch_size, len(data))
    steps = len(data) // batch_size * recipe.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, steps)
    loss_of = binary_cross_entropy_with_logits if data.multi_label else cross_entropy
    network.train()
    done = 0
    for _ in range(recipe.epochs):
        for which in torch.randperm(len(data), generator=random).split(batch_size):
            if len(which) < batch_size:
                continue
            images, labels = _batch(data, which, network)
            _, logits = network.judge(_varied(network.preprocess(images), recipe, random))
            optimizer.zero_grad(set_to_none=True)
            loss_of(logits, labels.float() if data.multi_label else labels).backward()
            optimizer.step()
            schedule.step()
            done += 1
            progress(done * batch_size, steps * batch_size)


def _varied(values: Tensor, recipe: Recipe, random: torch.Generator) -> Tensor:
    """A batch shifted, and perhaps mirrored, as a whole."""
    s, side = recipe.shift, values.shape[-1]
    top, left = (int(torch.randint(2 * s + 1, (), generator=random)) for _ in range(2))
    values = pad(values, (s, s, s, s), mode="replicate")[:, :, top : top + side, left : left + side]
    mirrored = recipe.mirror and bool(torch.randint(2, (), generator=random))
    return (values.flip(3) if mirrored else values).contiguous(memory_format=torch.channels_last)


def _batch(data: ImageDataset, which: Tensor | slice, network: Classifier) -> tuple[Tensor, Tensor]:
    device = network.head.weight.device
    labels = data.labels_of(which)
    assert labels is not None
    return data.images(which).to(device), labels.to(device)
