"""Latents and labels of image n of a seed, which are the same however many images are drawn with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.utils.suggestions import Typed

BLOCK = 64
"""Images whose random numbers are drawn together. More are drawn in further blocks, of which the last is cut off: PyTorch's
random numbers depend on how many are asked for at once."""

MAX_SEEDS = 1_000_000
"""Upper bound of the number of seeds in a text, so that a digit too many does not fill the memory."""

MAX_DIGITS = 18
"""Longest seed in digits; PyTorch's generators take 64 bits."""


def draw(
    latents: NormalLatents | NoLatents,
    labels: Labels | NoLabels,
    count: int,
    seed: int,
    *,
    classes: Sequence[Typed] = (),
    bound: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Latents ``[N, latent_size]`` and encoded labels ``[N, K]``, or None, on the CPU.

    Args:
        latents, labels: their sources.
        count: number of images; with ``classes``, of each class.
        seed: with the number of an image, and with its class if ``classes`` are given, it determines what is drawn.
        classes: names or numbers; ``count`` of the first, then of the second. Empty: labels with the frequencies of the data.
        bound: largest absolute value of a latent, or None.

    Raises:
        ValueError: there is no such class or bound.
    """
    if not classes:
        return _draw(latents, labels, (), count, seed, bound)
    streams = [int(np.random.SeedSequence((seed % 2**64, n)).generate_state(1)[0]) for n in labels.numbers(classes)]
    parts = [_draw(latents, labels, (name,), count, s, bound) for name, s in zip(classes, streams, strict=True)]
    encoded = [part[1] for part in parts if part[1] is not None]
    return torch.cat([part[0] for part in parts]), torch.cat(encoded)


def draw_seeds(
    latents: NormalLatents | NoLatents,
    labels: Labels | NoLabels,
    count: int,
    seeds: Sequence[int],
    *,
    classes: Sequence[Typed] = (),
    bound: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """``count`` images of each seed, with ``classes`` of each class and seed; arguments and result as of :func:`draw`."""
    if classes:
        labels.numbers(classes)  # or an error: a class is unknown or named twice
    drawn = [draw(latents, labels, count, seed, classes=[name], bound=bound) for name in classes for seed in seeds]
    drawn = drawn or [draw(latents, labels, count, seed, bound=bound) for seed in seeds]
    encoded = [part for _, part in drawn if part is not None]
    return torch.cat([part for part, _ in drawn]), torch.cat(encoded) if encoded else None


def parse_seeds(text: str, key: str = "seeds") -> list[int]:
    """Seeds and ranges of them: ``0-3,100`` is [0, 1, 2, 3, 100]; ``key`` is named in messages.

    Raises:
        ValueError: the text has another form, a range is empty, there are no seeds, or more than :data:`MAX_SEEDS`.
    """
    seeds: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)) or max(len(first), len(last)) > MAX_DIGITS:
            raise ValueError(f"{key}={text[:100]}: must be numbers and ranges of them, such as 0-63,100")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers:
            raise ValueError(f"{key}={text[:100]}: must be numbers and ranges of them, such as 0-63,100")
        if len(seeds) + len(numbers) > MAX_SEEDS:
            raise ValueError(f"{key}={text[:100]}: are more than {MAX_SEEDS:,} seeds; draw them in several parts")
        seeds += numbers
    return seeds


def _draw(
    latents: NormalLatents | NoLatents,
    labels: Labels | NoLabels,
    name: Sequence[Typed],
    count: int,
    seed: int,
    bound: float | None,
) -> tuple[Tensor, Tensor | None]:
    """Images of one class, or with an empty ``name`` of any."""
    cpu, random = torch.device("cpu"), torch.Generator().manual_seed(seed)
    vectors: list[Tensor] = []
    encoded: list[Tensor] = []
    for _ in range(0, count, BLOCK):
        vectors.append(latents.sample(BLOCK, cpu, random, bound))
        rows = labels.for_classes(name, BLOCK, random) if name else labels.sample(BLOCK, cpu, random)
        if rows is not None:
            encoded.append(rows)
    return torch.cat(vectors)[:count], torch.cat(encoded)[:count] if encoded else None
