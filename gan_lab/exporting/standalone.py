"""Generators as they are exported: functions of tensors alone, whose images have values in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gan_lab.models.base import Generator
from gan_lab.models.upscaler import Upscaler
from gan_lab.runs.run import Run


@dataclass(frozen=True)
class Input:
    """An input of an exported generator.

    Attributes:
        example: a tensor of the right shape and values.
        dynamic: names of the dimensions of any size, by number.
        description: shape and range.
    """

    example: Tensor
    dynamic: dict[int, str]
    description: str


class StandaloneGenerator(nn.Module):
    """Latents, and if the generator takes them labels and a truncation factor, to images ``[N, C, H, W]`` in [0, 1]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, labels: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        styles = self.generator.styles(latents, labels)
        if truncation is not None:
            styles = self.generator.truncate(styles, truncation)
        return _to_unit_range(self.generator.render(styles, labels))


class StandaloneUpscaler(nn.Module):
    """Images ``[N, C, h, w]`` in [0, 1] to images ``[N, C, scale * h, scale * w]`` in [0, 1]."""

    def __init__(self, generator: Upscaler) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        return _to_unit_range(self.generator(images * 2 - 1))


def _to_unit_range(images: Tensor) -> Tensor:
    return images.float().add(1).div(2).clamp(0, 1)


def standalone(run: Run) -> StandaloneGenerator | StandaloneUpscaler:
    """The generator of a run; its parameters are shared with the run's."""
    generator = run.generator
    return (StandaloneUpscaler(generator) if isinstance(generator, Upscaler) else StandaloneGenerator(generator)).eval()


def inputs(run: Run, count: int = 2, seed: int = 0) -> dict[str, Input]:
    """The inputs of :func:`standalone` by name, with random examples of ``count`` images."""
    random = torch.Generator().manual_seed(seed)
    if isinstance(run.generator, Upscaler):
        channels = run.config.dataset.channels
        images = torch.rand(count, channels, 10 + count, 13 + count, generator=random)
        return {"images": Input(images, {0: "batch", 2: "height", 3: "width"}, f"[batch, {channels}, height, width] in [0, 1]")}
    cpu, size = torch.device("cpu"), run.latents.size
    latents = run.latents.sample(count, cpu, random)
    found = {"latents": Input(latents, {0: "batch"}, f"[batch, {size}], standard normal")}
    if (labels := run.labels.sample(count, cpu, random)) is not None:
        kind = "1 for each attribute an image has" if run.labels.multi_label else "one-hot"
        found["labels"] = Input(labels, {0: "batch"}, f"[batch, {len(run.labels.names)}], {kind}, else 0")
    if run.generator.truncates_styles:
        found["truncation"] = Input(torch.tensor(0.7), {}, "a number in (0, 1]; 1: no truncation")
    return found
