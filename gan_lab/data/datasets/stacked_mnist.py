"""Stacked MNIST: three random MNIST digits as the color channels, which gives 1000 countable modes (Metz et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from gan_lab.data.datasets.idx import Idx
from gan_lab.data.raw_images import GeneratedImages


class StackedMnist(Idx):
    """RGB images of digits a, b, c in red, green and blue, with the label ``100 a + 10 b + c``.

    Args:
        count: number of images; 128,000 in VEEGAN and PacGAN (Lin et al. 2018).
        stack_seed: seed of the random choice of digits.
        shared: arguments of :class:`Idx`.
    """

    def __init__(self, *, count: int, stack_seed: int = 0, **shared: Any) -> None:
        if count < 1:
            raise ValueError(f"dataset.count={count}: must be at least 1")
        super().__init__(kind="MNIST", **shared)
        self._count, self._stack_seed = count, stack_seed

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "count": self._count, "stack_seed": self._stack_seed}

    def raw_images(self) -> GeneratedImages:  # type: ignore[override]
        digits = super().raw_images()
        assert digits.labels is not None
        chosen = np.random.default_rng(self._stack_seed).integers(0, len(digits), (self._count, 3))
        labels = digits.labels[chosen] @ np.array([100, 10, 1])

        def stack(index: int) -> Image.Image:
            return Image.merge("RGB", [digits.open(digit) for digit in chosen[index]])

        return GeneratedImages(self._count, stack, list(digits.sources()), labels, [f"{n:03d}" for n in range(1000)])
