"""Walks through the latent space: for each moment the styles and labels of some images that change continuously."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gan_lab.models.draws import draw
from gan_lab.models.latent_plane import slerp
from gan_lab.runs.run import Run
from gan_lab.utils.suggestions import Typed


@dataclass(frozen=True)
class WalkOptions:
    """What a walk passes.

    Attributes:
        count: number of images that walk side by side.
        keyframes: images that each passes; of a random walk, its oscillations in one period.
        seed: of latents and labels.
        classes: names or numbers; of ``walk=classes`` those that are passed (empty: all), else at most one, of all images.
        truncation: as in :meth:`gan_lab.runs.run.Run.sample`.
    """

    count: int = 1
    keyframes: int = 6
    seed: int = 0
    classes: Sequence[Typed] = ()
    truncation: float | None = None


@dataclass(frozen=True)
class KeyframePath:
    """A polygon of points, walked at constant speed between neighbors.

    Attributes:
        points: styles ``[count, K, ...]`` of the keyframes.
        labels: ``[count, K, classes]``, or None.
        closed: whether the last keyframe is followed by the first.
        spherical: whether points are interpolated on a great circle (Shoemake 1985), as of normally distributed latents, whose
            lengths a straight line would shorten; else linearly, as of styles.
    """

    points: Tensor
    labels: Tensor | None
    closed: bool
    spherical: bool

    def at(self, time: float) -> tuple[Tensor, Tensor | None]:
        """Styles ``[count, ...]`` and labels ``[count, classes]`` at ``time`` in [0, 1]; at 1 a closed path is at 0 again."""
        count = self.points.shape[1]
        segments = count if self.closed else count - 1
        before = min(int(time * segments), max(0, segments - 1))
        after, fraction = (before + 1) % count, time * segments - before
        between = slerp if self.spherical else torch.lerp
        point = between(self.points[:, before], self.points[:, after], fraction)
        return point, None if self.labels is None else torch.lerp(self.labels[:, before], self.labels[:, after], fraction)


@dataclass(frozen=True)
class RandomPath:
    """A closed random path whose every point is normally distributed: oscillations of random amplitudes.

    Attributes:
        amplitudes: ``[count, 2 * K, latent_size]``, normally distributed: of the cosines and sines of 1 to K periods.
        styles: styles of latents and labels.
        labels: ``[count, classes]``, or None.
    """

    amplitudes: Tensor
    styles: Callable[[Tensor, Tensor | None], Tensor]
    labels: Tensor | None

    def at(self, time: float) -> tuple[Tensor, Tensor | None]:
        """As :meth:`KeyframePath.at`."""
        periods = self.amplitudes.shape[1] // 2
        angles = 2 * math.pi * time * torch.arange(1, periods + 1, dtype=torch.float64)
        weights = torch.cat([angles.cos(), angles.sin()]).to(self.amplitudes) / math.sqrt(periods)
        latents = torch.einsum("k,nkd->nd", weights, self.amplitudes)
        return self.styles(latents, self.labels), self.labels


def _line(run: Run, options: WalkOptions) -> KeyframePath:
    """From the first keyframe to the last; the class of an image stays the same."""
    _check_one_class(options)
    return _through_images(run, options, closed=False)


def _loop(run: Run, options: WalkOptions) -> KeyframePath:
    """As a line, and back to the first keyframe."""
    _check_one_class(options)
    return _through_images(run, options, closed=True)


def _random(run: Run, options: WalkOptions) -> RandomPath:
    """A smooth random path that ends where it began; the class of an image stays the same."""
    _check_one_class(options)
    if options.truncation is not None and not run.generator.truncates_styles:
        raise ValueError(f"truncation={options.truncation}: a random walk has latents of any size; leave it out")
    amplitudes, labels = _draw(run, replace(options, keyframes=2 * options.keyframes))
    first = None if labels is None else labels[:, 0]
    return RandomPath(amplitudes, lambda latents, label: run.styles(latents, label, options.truncation), first)


def _classes(run: Run, options: WalkOptions) -> KeyframePath:
    """The same latents as an image of one class after another, and back to the first."""
    names = list(options.classes) or run.labels.available_classes()
    numbers = run.labels.numbers(names)  # or a ValueError: the generator is unconditional
    if len(numbers) < 2:
        raise ValueError(f"walk=classes: passes two classes or more, not only {names[0]}")
    latents, _ = _draw(run, replace(options, keyframes=1, classes=names[:1]))
    labels = run.labels.for_classes(names, 1, torch.Generator().manual_seed(options.seed)).to(run.device)
    return _path(run, latents.expand(-1, len(names), -1), labels.expand(options.count, -1, -1), options, closed=True)


WALKS: dict[str, Callable[[Run, WalkOptions], KeyframePath | RandomPath]] = {
    "line": _line,
    "loop": _loop,
    "random": _random,
    "classes": _classes,
}
"""Paths by the value of ``walk``."""


def walk(run: Run, kind: str, frames: int, options: WalkOptions, batch_size: int = 64) -> Iterator[Tensor]:
    """Yield for each frame the images side by side, uint8 ``[count, C, H, W]`` on the CPU.

    Args:
        run: with a generator of latents.
        kind: one of :data:`WALKS`.
        frames: number of frames; of a closed path, the first would follow the last.
        options: what the walk passes.
        batch_size: images per forward pass.

    Raises:
        ValueError: there is no such walk or class, or a number is out of range.
    """
    if kind not in WALKS:
        raise ValueError(f"walk={kind}: must be one of {', '.join(WALKS)}")
    fewest = 2 if kind in ("line", "loop") else 1
    if min(frames, options.count, batch_size) < 1 or options.keyframes < fewest:
        raise ValueError(
            f"frames={frames}, count={options.count} and batch_size={batch_size} must be at least 1, and "
            f"keyframes={options.keyframes} at least {fewest}"
        )
    run.check_truncation(options.truncation)
    path = WALKS[kind](run, options)
    last = frames if not isinstance(path, KeyframePath) or path.closed else max(1, frames - 1)
    return _render(run, path, [number / last for number in range(frames)], max(1, batch_size // options.count))


def _render(run: Run, path: KeyframePath | RandomPath, times: Sequence[float], at_once: int) -> Iterator[Tensor]:
    for start in range(0, len(times), at_once):
        moments = [path.at(time) for time in times[start : start + at_once]]
        styles = torch.cat([point for point, _ in moments])
        given = [labels for _, labels in moments if labels is not None]
        yield from run.render(styles, torch.cat(given) if given else None).chunk(len(moments))


def _through_images(run: Run, options: WalkOptions, closed: bool) -> KeyframePath:
    latents, labels = _draw(run, options)
    if labels is not None:
        labels = labels[:, :1].expand_as(labels)
    return _path(run, latents, labels, options, closed)


def _path(run: Run, latents: Tensor, labels: Tensor | None, options: WalkOptions, closed: bool) -> KeyframePath:
    """The path through the styles of latents ``[count, K, latent_size]`` and labels ``[count, K, classes]``."""
    flat = run.styles(latents.flatten(0, 1), None if labels is None else labels.flatten(0, 1), options.truncation)
    return KeyframePath(flat.unflatten(0, latents.shape[:2]), labels, closed, spherical=not run.generator.truncates_styles)


def _draw(run: Run, options: WalkOptions) -> tuple[Tensor, Tensor | None]:
    """Latents ``[count, K, latent_size]`` and labels ``[count, K, classes]``: image n passes the images n, n + count, ... ."""
    bound = None if run.generator.truncates_styles else options.truncation
    number = options.count * options.keyframes
    drawn = draw(run.latents, run.labels, number, options.seed, classes=options.classes, bound=bound)
    latents, labels = (
        None if value is None else value.to(run.device).unflatten(0, (options.keyframes, options.count)).transpose(0, 1)
        for value in drawn
    )
    assert latents is not None
    return latents, labels


def _check_one_class(options: WalkOptions) -> None:
    if len(options.classes) > 1:
        raise ValueError(f"classes={list(options.classes)}: only walk=classes passes several; give at most one")
