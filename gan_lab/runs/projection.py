"""Projection: the latent whose image is most like a given picture (Karras et al. 2020, StyleGAN2, appendix D), for any family.

The best of many random latents are optimized together, by the distance of pixels and of feature maps. Generators with styles
are optimized in their styles, one for all layers, others in their latents, which are kept as long as random ones are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from gan_lab.data.image_decoding import decode, open_image
from gan_lab.metrics.perceptual_networks import PerceptualNetwork
from gan_lab.models.draws import draw
from gan_lab.runs.run import Run
from gan_lab.storage.files import write_atomically
from gan_lab.storage.weights_file import read_weights
from gan_lab.utils.image_ops import normalize, to_pil
from gan_lab.utils.progress import Progress, silent
from gan_lab.utils.suggestions import Typed

BATCH = 64
"""Random latents that are compared at once."""


@dataclass(frozen=True)
class ProjectionOptions:
    """How long and how thoroughly to search.

    Attributes:
        steps: of the optimizer.
        lr: learning rate of Adam; it follows a cosine to 0.
        candidates: random latents, of which the best are optimized.
        starts: how many of them are optimized, at once.
        pixel_weight: factor of the mean absolute difference of pixels, in [0, 1]; that of the feature maps is 1.
        seed: of the candidates.
        classes: at most one, of a conditional run; empty: that of the best candidate.

    Raises:
        ValueError: a number is out of range, or there are several classes.
    """

    steps: int
    lr: float
    candidates: int
    starts: int
    pixel_weight: float
    seed: int = 0
    classes: Sequence[Typed] = ()

    def __post_init__(self) -> None:
        if min(self.candidates, self.starts) < 1 or self.steps < 0 or not self.lr > 0 or self.pixel_weight < 0:
            raise ValueError(
                f"projection: candidates={self.candidates} and starts={self.starts} must be at least 1, steps={self.steps} and "
                f"pixel_weight={self.pixel_weight:g} at least 0, and lr={self.lr:g} positive"
            )
        if len(self.classes) > 1:
            raise ValueError(f"classes={list(self.classes)}: a picture is projected into one class at most")


@dataclass(frozen=True)
class Found:
    """The result of a projection.

    Attributes:
        styles: what :meth:`Run.render` takes, ``[1, ...]``.
        labels: ``[1, classes]``, or None.
        distance: of its image from the target.
        start: distance of the best random latent.
    """

    styles: Tensor
    labels: Tensor | None
    distance: float
    start: float

    def save(self, path: Path) -> None:
        """Write a safetensors file of ``styles`` and ``labels``."""
        tensors = {"styles": self.styles} | ({} if self.labels is None else {"labels": self.labels})
        write_atomically(path, safetensors.torch.save({name: value.cpu().contiguous() for name, value in tensors.items()}))


def load_found(path: Path, run: Run) -> tuple[Tensor, Tensor | None]:
    """The styles and labels that :meth:`Found.save` wrote, on the run's device.

    Raises:
        ValueError: the file is missing, damaged, or of another generator.
    """
    try:
        tensors = read_weights(path)
        styles, labels = tensors["styles"].to(run.device), tensors.get("labels")
    except (ValueError, KeyError) as error:
        raise ValueError(f"latent={path}: there is no file of a projection ({error})") from error
    expected, label = _candidates(run, 1, 0, ())
    if styles.shape[1:] != expected.shape[1:] or (labels is None) != (label is None):
        raise ValueError(
            f"latent={path}: has values of {list(styles.shape[1:])}, the generator of {run.directory.path} takes "
            f"{list(expected.shape[1:])}; a latent belongs to the generator that it was found with"
        )
    return styles, None if labels is None else labels.to(run.device)


def read_target(picture: str | os.PathLike[str] | Image.Image | Tensor, run: Run) -> Tensor:
    """A picture, cropped to the largest square and resized to the run's images: what :func:`project` takes.

    Args:
        picture: a file, a Pillow image, or uint8 ``[C, H, W]``.
        run: with a generator of latents.

    Returns:
        uint8 ``[C, H, W]``.

    Raises:
        ValueError: the picture can't be read, or the generator enlarges images.
    """
    name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else "picture"
    if run.latents.size == 0:
        raise ValueError(f"project={name}: the generator of {run.directory.path} enlarges images and has no latents")
    _, channels, _, size = run.sample(1).shape  # a generator that is still growing makes smaller images than the dataset's
    try:
        if isinstance(picture, str | os.PathLike):
            with open_image(Path(picture)) as image:
                pixels = decode(image, size, channels, "crop")
        else:
            pixels = decode(to_pil(picture) if isinstance(picture, Tensor) else picture, size, channels, "crop")
    except Exception as error:  # decoders raise many types for damaged files
        raise ValueError(f"project={name}: can't be read ({error})") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def project(
    run: Run, target: Tensor, network: PerceptualNetwork, options: ProjectionOptions, progress: Progress = silent
) -> Found:
    """Search the latent of a picture.

    Args:
        run: with a generator of latents.
        target: uint8 ``[C, H, W]``, of the generator's size and channels.
        network: whose feature maps are compared.
        options: see :class:`ProjectionOptions`.
        progress: called with the number of steps done and of all.

    Raises:
        ValueError: there is no such class, or the images are too small for ``network``.
    """
    network.to(run.device)
    wanted = normalize(target[None]).to(run.device)

    def distances(points: Tensor, labels: Tensor | None) -> Tensor:
        images = run.generator.render(points, labels).float()
        pixels = (images - wanted).abs().flatten(1).mean(1) / 2
        pairs = network.feature_pairs(images, wanted.expand_as(images))
        return options.pixel_weight * pixels + sum((a - b).abs().flatten(1).mean(1) for a, b in pairs)

    points, labels = _candidates(run, options.candidates, options.seed, options.classes)
    with torch.no_grad():
        parts = [slice(n, n + BATCH) for n in range(0, len(points), BATCH)]
        scores = torch.cat([distances(points[part], None if labels is None else labels[part]) for part in parts])
    best = scores.argsort()[: options.starts]
    labels = None if labels is None else labels[best]
    start = points[best]
    is_latent = not run.generator.truncates_styles
    free = (start if is_latent else start[:, :1]).clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=options.lr, betas=(0.9, 0.999))
    lowest, kept = scores[best].clone(), start.clone()
    for step in range(options.steps):
        optimizer.param_groups[0]["lr"] = options.lr * (1 + math.cos(math.pi * step / options.steps)) / 2
        current = distances(free.expand_as(start), labels)
        optimizer.zero_grad(set_to_none=True)
        current.sum().backward()
        with torch.no_grad():
            better = current < lowest
            lowest[better], kept[better] = current.detach()[better], free.expand_as(start)[better]
            optimizer.step()
            if is_latent:  # keep the length that random latents have
                free.mul_(math.sqrt(free.shape[1]) / free.norm(dim=1, keepdim=True))
        progress(step + 1, options.steps)
    winner = int(lowest.argmin())
    chosen = slice(winner, winner + 1)
    return Found(kept[chosen], None if labels is None else labels[chosen], float(lowest[winner]), float(scores.min()))


def _candidates(run: Run, count: int, seed: int, classes: Sequence[Typed]) -> tuple[Tensor, Tensor | None]:
    latents, labels = draw(run.latents, run.labels, count, seed, classes=classes)
    labels = None if labels is None else labels.to(run.device)
    return run.styles(latents.to(run.device), labels), labels
