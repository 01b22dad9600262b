"""How much the discriminator overfits, told by images it was never trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import Batch
from gan_lab.training.growth import GrowthState
from gan_lab.training.loss_context import GAN
from gan_lab.utils.image_ops import normalize


class NoOverfittingEstimate:
    """No such images: nothing is told."""

    def __call__(self, stage: GrowthState) -> dict[str, float]:
        return {}


class OverfittingEstimate:
    """``r_v`` of Karras et al. 2020 (StyleGAN2-ADA), eq. 1.

    ``(E[D(train)] - E[D(held out)]) / (E[D(train)] - E[D(fake)])``: 0 where held-out images are judged like those trained on,
    1 where they are judged like fakes. Any discriminator's and any critic's outputs will do, and none where it does not tell
    training images from fakes. Images are judged as they are, not augmented, by networks in evaluation mode; fakes are made
    from the same latents each time, under the training images' labels. A training is bit-identical with it and without.

    Args:
        game: the players, and how labels are encoded.
        train: training images, all of which are looked at.
        held_out: as many others.
        batch_size: images at a time.
        seed: of the latents.
        device: of the networks.
    """

    def __init__(
        self, game: GAN, train: ImageDataset, held_out: ImageDataset, batch_size: int, seed: int, device: torch.device
    ) -> None:
        assert len(train) == len(held_out) > 0
        self._game, self._train, self._held_out = game, train, held_out
        self._batch_size, self._seed, self._device = batch_size, seed, device

    @torch.no_grad()
    def __call__(self, stage: GrowthState) -> dict[str, float]:
        """``d/overfitting`` of networks at ``stage``, or nothing."""
        with eval_mode(self._game.generator), eval_mode(self._game.discriminator):
            train = self._mean_of_reals(self._train, stage)
            gap = train - self._mean_of_fakes()
            ratio = (train - self._mean_of_reals(self._held_out, stage)) / gap if gap > 0 else math.nan
        return {"d/overfitting": ratio} if math.isfinite(ratio) else {}

    def _mean_of_reals(self, data: ImageDataset, stage: GrowthState) -> float:
        return _mean([self._judge(self._reals(data, part, stage), self._labels(data, part)) for part in self._parts()])

    def _mean_of_fakes(self) -> float:
        random = torch.Generator().manual_seed(self._seed)
        logits = []
        for part in self._parts():
            labels = self._labels(self._train, part)
            latents = self._game.latents.sample(part.stop - part.start, self._device, random)
            logits.append(self._judge(self._game.generator(latents, labels), labels))
        return _mean(logits)

    def _judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        logits: Tensor = self._game.discriminator(images, labels).logits
        return logits

    def _reals(self, data: ImageDataset, part: slice, stage: GrowthState) -> Tensor:
        dtype = next(self._game.discriminator.parameters()).dtype
        return stage.match_resolution(Batch(normalize(data.images(part).to(self._device), dtype), None)).real

    def _labels(self, data: ImageDataset, part: slice) -> Tensor | None:
        labels = data.labels_of(part)
        return self._game.labels.encode(None if labels is None else labels.to(self._device))

    def _parts(self) -> Iterator[slice]:
        count = len(self._train)
        return (slice(start, min(start + self._batch_size, count)) for start in range(0, count, self._batch_size))


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then each module is again in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _mean(logits: list[Tensor]) -> float:
    return float(torch.cat(logits).double().mean())
