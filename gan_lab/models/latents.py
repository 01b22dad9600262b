"""Where the generator's input comes from."""

from __future__ import annotations

import torch
from torch import Tensor


class NormalLatents:
    """Latent vectors z ~ N(0, I).

    Args:
        size: length of a vector.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def draw(self, count: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        """``[count, size]`` float32 on ``device``. A ``generator`` (on the CPU) makes the draw the same on every device."""
        if generator is None:
            return torch.randn(count, self.size, device=device)
        return torch.randn(count, self.size, generator=generator).to(device)
