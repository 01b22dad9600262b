"""Stacked-MNIST: three random digits as the three colours, a thousand modes to count (Metz et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from gan_lab.data.datasets.idx import Idx
from gan_lab.data.raw_images import GeneratedImages


class StackedMnist(Idx):
    """Label ``100 a + 10 b + c`` for the digits in red, green and blue.

    Args:
        count: images to make; PacGAN (Lin et al. 2018) and VEEGAN take 128,000.
        stack_seed: of the choice of digits.
        shared: the rest are :class:`Idx`'s.
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

        def make(number: int) -> Image.Image:
            return Image.merge("RGB", [digits.open(digit) for digit in chosen[number]])

        return GeneratedImages(self._count, make, list(digits.sources()), labels, [f"{n:03d}" for n in range(1000)])
