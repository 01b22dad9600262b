"""Two tiny networks and their phases, for tests of the mathematics of a step."""

from __future__ import annotations

import torch
from torch import nn

from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.precision import Precision
from gan_lab.losses import adversarial
from gan_lab.losses.base import LossTerm
from gan_lab.losses.penalties import GradientPenalty
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.latents import NormalLatents

CPU = torch.device("cpu")


class Network(nn.Sequential):
    """Accepts labels, as every network does, and ignores them."""

    def forward(self, value: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(value)


class Output(nn.Module):
    """The last layer's output as a DiscriminatorOutput."""

    def forward(self, logits: torch.Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(logits.flatten().float(), logits)


def latents_rng() -> torch.Generator:
    """The generator of a GAN's latents."""
    return torch.Generator().manual_seed(9)


def make_gan() -> GAN:
    torch.manual_seed(1)
    generator = Network(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))
    discriminator = Network(nn.Flatten(), nn.Linear(16, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), Output())
    return GAN(generator, discriminator, NormalLatents(3), rng=latents_rng())


def make_phase(gan: GAN, name: str, term: LossTerm, **more: object) -> Phase:
    network, opponent = (gan.generator, gan.discriminator) if name == "g" else (gan.discriminator, gan.generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    more.setdefault("precision", Precision(CPU))
    return Phase(name, network, opponent, optimizer, {"loss_term": term}, (), **more)  # type: ignore[arg-type]


def make_batch(count: int = 8) -> Batch:
    return Batch(torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(5)), None)


def flat_weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


TERMS = {"d": adversarial.HingeDiscriminatorLoss(), "g": adversarial.NonSaturatingGeneratorLoss(), "gp": GradientPenalty()}
