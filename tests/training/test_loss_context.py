"""A round computes what is asked for, once, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gan_lab.losses import adversarial
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.latents import NormalLatents
from gan_lab.training.accuracy import Accuracy
from gan_lab.training.loss_context import GAN, SharedFakes, StepContext


class Counting(nn.Module):
    """Counts its calls."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, value: Tensor, labels: Tensor | None = None) -> Tensor | DiscriminatorOutput:
        self.calls += 1
        return self.network(value)


class Judge(nn.Module):
    """The last layer's output as a judgement."""

    def forward(self, logits: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(logits.flatten().float(), logits)


@pytest.fixture
def game() -> GAN:
    generator = Counting(nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4))))
    discriminator = Counting(nn.Sequential(nn.Flatten(), nn.Linear(16, 1), Judge()))
    return GAN(generator, discriminator, NormalLatents(3))


def play(game: GAN, **more: object) -> StepContext:
    return StepContext(game, torch.randn(5, 1, 4, 4), torch.randn(5, 3), **more)  # type: ignore[arg-type]


EXPECTED = {
    "NonSaturatingGenerator": (1, 1),
    "SaturatingGenerator": (1, 1),
    "LinearGenerator": (1, 1),
    "LeastSquaresGenerator": (1, 1),
    "LogisticDiscriminator": (1, 2),
    "HingeDiscriminator": (1, 2),
    "LeastSquaresDiscriminator": (1, 2),
    "WassersteinDiscriminator": (1, 2),
    "RelativisticDiscriminator": (1, 2),
    "RelativisticGenerator": (1, 2),
    "RelativisticAverageDiscriminator": (1, 2),
    "RelativisticAverageGenerator": (1, 2),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_loss_and_its_accuracies_run_each_network_no_more_than_needed(game: GAN, name: str) -> None:
    is_generator = name.endswith("Generator")
    round = play(game, generator_turn=is_generator)
    assert (game.generator.calls, game.discriminator.calls) == (0, 0)
    term = getattr(adversarial, name)()
    term(round)
    accuracy = Accuracy([adversarial.HingeDiscriminatorLoss()])
    figures = accuracy.generator_metrics(round) if is_generator else accuracy.discriminator_metrics(round)
    assert (game.generator.calls, game.discriminator.calls) == EXPECTED[name]
    assert set(figures) == ({"fool_rate"} if is_generator else {"accuracy_real", "accuracy_fake"})


def test_fakes_carry_the_generators_graph_in_its_own_turn_only(game: GAN) -> None:
    assert play(game, generator_turn=True).fake.requires_grad
    assert not play(game, generator_turn=False).fake.requires_grad


def test_a_penalty_gets_the_gradient_it_asks_for(game: GAN) -> None:
    round = play(game, generator_turn=False, needs_gradient_of=frozenset({"real", "fake"}))
    for images, logits in ((round.real, round.real_logits), (round.fake, round.fake_logits)):
        gradient = round.input_gradient(logits, images)
        expected = game.discriminator.network[1].weight.view(1, 4, 4).expand(5, 1, 4, 4)  # type: ignore[index, union-attr]
        torch.testing.assert_close(gradient, expected)


def test_accuracies_count_by_the_boundary() -> None:
    class Given:
        real_logits = torch.tensor([2.0, 0.4, 1.0, -1.0])
        fake_logits = torch.tensor([0.6, -2.0, 0.4, 0.2])
        real_judgement, fake_judgement = (
            DiscriminatorOutput(real_logits, real_logits),
            DiscriminatorOutput(fake_logits, fake_logits),
        )
        labels = None

    def figures(term: adversarial.DiscriminatorLoss) -> Counter[str]:
        accuracy = Accuracy([term])
        found = accuracy.discriminator_metrics(Given()) | accuracy.generator_metrics(Given())  # type: ignore[arg-type]
        return Counter({name: float(value) for name, value in found.items()})  # type: ignore[misc]

    assert figures(adversarial.HingeDiscriminatorLoss()) == {"accuracy_real": 0.75, "accuracy_fake": 0.25, "fool_rate": 0.75}
    assert figures(adversarial.LeastSquaresDiscriminatorLoss()) == {
        "accuracy_real": 0.5,
        "accuracy_fake": 0.75,
        "fool_rate": 0.25,
    }
    # the means are 0.6 and -0.2, so the critic's boundary is 0.2; 0.2 itself lies on it
    assert figures(adversarial.WassersteinDiscriminatorLoss())["accuracy_real"] == 0.75


def test_a_loss_without_an_adversarial_term_is_refused() -> None:
    with pytest.raises(ValueError, match="must have an adversarial one"):
        Accuracy([adversarial.WassersteinGeneratorLoss()])


def test_fakes_go_from_one_turn_to_the_other_with_the_generators_graph(game: GAN) -> None:
    handed = SharedFakes()
    judged = play(game, generator_turn=False, handed=handed).fake
    assert not judged.requires_grad
    learnt_from = StepContext(game, torch.randn(5, 1, 4, 4), handed.latents, generator_step=True, shared_fakes=handed).fake
    assert torch.equal(judged, learnt_from) and learnt_from.requires_grad
    assert game.generator.calls == 1


def test_one_pass_over_reals_and_fakes_judges_as_two_do(game: GAN) -> None:
    real, latents = torch.randn(5, 1, 4, 4), torch.randn(5, 3)
    joint = StepContext(game, real, latents, generator_step=False, joint_pass=True)
    separate = StepContext(game, real, latents, generator_step=False)
    torch.testing.assert_close(joint.real_logits, separate.real_logits)
    torch.testing.assert_close(joint.fake_logits, separate.fake_logits)
    assert game.discriminator.calls == 1 + 2


def test_a_compiled_discriminator_is_left_out_where_it_is_differentiated_twice(game: GAN) -> None:
    called: list[Tensor] = []

    def compiled(images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        called.append(images)
        return game.discriminator(images, labels)

    fast = replace(game, compiled={"discriminator": compiled})
    plain = play(fast, generator_turn=False)
    penalised = play(fast, generator_turn=False, needs_gradient_of=frozenset({"real"}))
    assert plain.real_logits.shape == plain.fake_logits.shape == penalised.real_logits.shape == (5,)
    plain.discriminate(plain.real)  # a penalty's own images
    assert len(called) == 2
