"""The two networks of a GAN and their inputs in a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.data.augmentation import Augmentation, Augmentations
from gan_lab.data.loader import Batch
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.runtime.distributed import SingleProcess


@dataclass(frozen=True)
class GAN:
    """Generator and discriminator, with the sources of the generator's input and the augmentation of the discriminator's.

    Attributes:
        generator, discriminator: the networks being trained.
        latents: source of latent vectors.
        labels: source of labels for generated images, and their encoding.
        augment: applied to all inputs of the discriminator.
        rng: generator of latents and interpolation weights; in the same state in every process.
        processes: the processes that share each batch.
        joint_pass: whether the discriminator processes reals and fakes in one forward pass. The outputs differ from those of
            two passes if a layer depends on the whole batch, such as batch normalization.
        reuse_fakes: whether the generator step reuses the fakes of the preceding discriminator step (as pytorch/examples
            ``dcgan`` does), which saves one generator pass, or draws new ones (Goodfellow et al. 2014, algorithm 1).
        reuse_reals: whether the generator step compares with the reals of the discriminator step. False: a batch has twice as
            many images, and the second half is the generator step's, as in R3GAN.
        compiled: compiled networks by name; used where no second derivative is needed.
    """

    generator: nn.Module
    discriminator: nn.Module
    latents: NormalLatents | NoLatents
    labels: Labels | NoLabels = field(default_factory=NoLabels)
    augment: Augmentation = field(default_factory=lambda: Augmentations({}))
    rng: torch.Generator = field(default_factory=torch.Generator)
    processes: SingleProcess = field(default_factory=SingleProcess)
    joint_pass: bool = False
    reuse_fakes: bool = False
    reuse_reals: bool = True
    compiled: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def forward_function(self, name: str) -> Callable[..., Any]:
        """The network called ``name`` (``generator`` or ``discriminator``), or its compiled version if there is one."""
        return self.compiled.get(name, getattr(self, name))


class BatchNoise:
    """Random numbers of one update, drawn for the whole batch; each process and each micro-batch uses its own rows.

    Args:
        gan: provides the latent source and the random generator.
        count: images in the batch, summed over all processes.
        device: of the numbers.
    """

    def __init__(self, gan: GAN, count: int, device: torch.device) -> None:
        self._gan, self._count, self._device = gan, count, device

    @cached_property
    def latents(self) -> Tensor:
        """``[count, latent_size]``, or pairs of them for mixed styles."""
        return self._gan.latents.sample_for_training(self._count, self._device, self._gan.rng)

    def generator_inputs(self, batch: Batch, part: slice, rows: slice) -> Tensor:
        """The generator's input: a ``part`` of the low-resolution images if there are any, else ``rows`` of the latents."""
        return self.latents[rows] if batch.low_resolution is None else batch.low_resolution[part]

    @cached_property
    def interpolation_weight(self) -> Tensor:
        """``[count]``, uniform in [0, 1)."""
        rng = self._gan.rng
        return torch.rand(self._count, generator=rng, device=rng.device).to(self._device)


@dataclass
class SharedFakes:
    """Fakes with their autograd graph, which the generator step reuses from the discriminator step of the same iteration."""

    latents: Tensor | None = None
    fake: Tensor | None = None
