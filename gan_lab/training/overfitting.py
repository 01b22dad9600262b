"""Measures how much the discriminator overfits, on images that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.growth import GrowthState
from gan_lab.utils.image_ops import normalize


class NoOverfittingEstimate:
    """Measures nothing, because there are no held-out images."""

    def __call__(self, state: GrowthState) -> dict[str, float]:
        return {}


class OverfittingEstimate:
    """``r_v`` of Karras et al. 2020 (StyleGAN2-ADA), eq. 1.

    ``(E[D(train)] - E[D(held out)]) / (E[D(train)] - E[D(fake)])``: 0 if the discriminator rates held-out images like
    training images, 1 if it rates them like fakes. It is defined for any discriminator or critic that rates training images
    higher than fakes. Images are not augmented and networks are in evaluation mode; fakes are generated from the same latents
    each time, with the labels of the training images. Measuring it does not change the training.

    Args:
        gan: the networks and the encoding of labels.
        train: training images.
        held_out: the same number of images that are not trained on.
        batch_size: images in a forward pass.
        seed: of the latents.
        device: of the networks.
    """

    def __init__(
        self, gan: GAN, train: ImageDataset, held_out: ImageDataset, batch_size: int, seed: int, device: torch.device
    ) -> None:
        assert len(train) == len(held_out) > 0
        self._gan, self._train, self._held_out = gan, train, held_out
        self._batch_size, self._seed, self._device = batch_size, seed, device

    @torch.no_grad()
    def __call__(self, state: GrowthState) -> dict[str, float]:
        """``d/overfitting`` at a growth state; empty if it is undefined."""
        with eval_mode(self._gan.generator), eval_mode(self._gan.discriminator):
            train = self._mean_of_reals(self._train, state)
            gap = train - self._mean_of_fakes()
            ratio = (train - self._mean_of_reals(self._held_out, state)) / gap if gap > 0 else math.nan
        return {"d/overfitting": ratio} if math.isfinite(ratio) else {}

    def _mean_of_reals(self, data: ImageDataset, state: GrowthState) -> float:
        return _mean([self._logits(self._reals(data, part, state), self._labels(data, part)) for part in self._parts()])

    def _mean_of_fakes(self) -> float:
        rng = torch.Generator().manual_seed(self._seed)
        logits = []
        for part in self._parts():
            labels = self._labels(self._train, part)
            latents = self._gan.latents.sample(part.stop - part.start, self._device, rng)
            logits.append(self._logits(self._gan.generator(latents, labels), labels))
        return _mean(logits)

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        logits: Tensor = self._gan.discriminator(images, labels).logits
        return logits

    def _reals(self, data: ImageDataset, part: slice, state: GrowthState) -> Tensor:
        dtype = next(self._gan.discriminator.parameters()).dtype
        return state.match_resolution(Batch(normalize(data.images(part).to(self._device), dtype), None)).real

    def _labels(self, data: ImageDataset, part: slice) -> Tensor | None:
        labels = data.labels_of(part)
        return self._gan.labels.encode(None if labels is None else labels.to(self._device))

    def _parts(self) -> Iterator[slice]:
        count = len(self._train)
        return (slice(start, min(start + self._batch_size, count)) for start in range(0, count, self._batch_size))


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """A context with ``network`` in evaluation mode; each module returns to its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _mean(logits: list[Tensor]) -> float:
    return float(torch.cat(logits).double().mean())
