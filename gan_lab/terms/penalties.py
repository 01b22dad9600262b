"""What keeps a discriminator well behaved; combines with any adversarial loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lab.terms.base import RoundView, Term


class WeightClipping(Term):
    """Clamp every parameter of the critic to ``[-limit, limit]`` after each step (Arjovsky et al. 2017, algorithm 1).

    The constraint of the original WGAN. Its value is 0: it acts on the weights and not on the loss.
    """

    def __init__(self, limit: float = 0.01) -> None:
        super().__init__()
        if limit <= 0:
            raise ValueError(f"limit={limit}: must be positive")
        self.limit = limit

    def __call__(self, round: RoundView) -> Tensor:
        return torch.zeros((), device=round.real.device)

    @torch.no_grad()
    def after_step(self, player: nn.Module) -> None:
        parameters: list[Tensor] = list(player.parameters())
        torch._foreach_clamp_min_(parameters, -self.limit)
        torch._foreach_clamp_max_(parameters, self.limit)
