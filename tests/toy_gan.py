"""Two tiny networks and their phases, for tests of the mathematics of a step."""

from __future__ import annotations

import torch
from torch import nn

from gan_lab.data.loader import Batch
from gan_lab.losses import adversarial
from gan_lab.losses.base import LossTerm
from gan_lab.losses.penalties import GradientPenalty
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.latents import NormalLatents
from gan_lab.training.loss_context import GAN
from gan_lab.training.phase import Phase
from gan_lab.training.precision import Precision

CPU = torch.device("cpu")


class Network(nn.Sequential):
    """Takes labels, as a player does, and does without."""

    def forward(self, value: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(value)


class Judge(nn.Module):
    """The last layer's output as a judgement."""

    def forward(self, logits: torch.Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(logits.flatten().float(), logits)


def latents() -> torch.Generator:
    """What a game draws them with."""
    return torch.Generator().manual_seed(9)


def networks() -> GAN:
    torch.manual_seed(1)
    generator = Network(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))
    discriminator = Network(nn.Flatten(), nn.Linear(16, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), Judge())
    return GAN(generator, discriminator, NormalLatents(3), rng=latents())


def make_phase(game: GAN, name: str, term: LossTerm, **more: object) -> Phase:
    player, idle = (game.generator, game.discriminator) if name == "g" else (game.discriminator, game.generator)
    optimizer = torch.optim.SGD(player.parameters(), lr=0.1)
    more.setdefault("precision", Precision(CPU))
    return Phase(name, player, idle, optimizer, {"loss_term": term}, (), **more)  # type: ignore[arg-type]


def batch(count: int = 8) -> Batch:
    return Batch(torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(5)), None)


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


TERMS = {"d": adversarial.HingeDiscriminatorLoss(), "g": adversarial.NonSaturatingGeneratorLoss(), "gp": GradientPenalty()}
