"""Path length regularization of the generator (Karras et al. 2020, StyleGAN2, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.losses.base import LossContext, LossTerm


class PathLengthPenalty(LossTerm):
    """``(||J^T y|| - a)^2``: a step in style space of fixed length changes the images by a fixed amount.

    ``J`` is the derivative of an image with respect to its styles, ``y`` an image of normal noise, and ``a`` a running mean of
    ``||J^T y||``. The squared norm is averaged over the layers, and y divided by the square root of the number of pixels, as in
    the authors' code. For a family without styles the derivative is with respect to the latents. Each process of ``torchrun``
    has its own running mean.

    Args:
        decay: weight of a batch in the running mean.
        batch_fraction: fraction of the batch that the term is computed for, to save time.
        weight, interval: those of :class:`LossTerm`.

    Raises:
        ValueError: ``decay`` or ``batch_fraction`` is not in (0, 1].
    """

    def __init__(self, decay: float = 0.01, batch_fraction: float = 0.5, weight: float = 2.0, interval: int = 4) -> None:
        super().__init__(weight, interval)
        for name, value in {"decay": decay, "batch_fraction": batch_fraction}.items():
            if not 0 < value <= 1:
                raise ValueError(f"path_length: {name}={value} must lie in (0, 1]")
        self.decay = decay
        self.batch_fraction = batch_fraction
        self.mean_length = torch.zeros(())

    def __call__(self, context: LossContext) -> Tensor:
        images, styles = context.generate_from_styles(math.ceil(len(context.real) * self.batch_fraction))
        lengths = self.lengths(context, images, styles)
        mean = self.mean_length.to(lengths.dtype).lerp(lengths.mean(), self.decay)
        self.mean_length.copy_(torch.where(mean.isfinite(), mean.detach(), self.mean_length))
        return (lengths - mean).square().mean()

    def lengths(self, context: LossContext, images: Tensor, styles: Tensor) -> Tensor:
        """``||J^T y||`` of each image, ``[N]``."""
        noise = torch.randn(images.shape, device=images.device).to(images.dtype) / math.sqrt(images[0, 0].numel())
        gradient = context.input_gradient((images * noise).flatten(1).sum(1), styles)
        return gradient.square().sum(-1).flatten(1).mean(1).sqrt() if styles.dim() > 2 else gradient.norm(dim=1)

    def to(self, device: torch.device) -> None:
        self.mean_length = self.mean_length.to(device)

    def state_dict(self) -> dict[str, Any]:
        return {"mean_length": self.mean_length}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean_length.copy_(state["mean_length"])
