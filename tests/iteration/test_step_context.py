"""A step context computes each tensor at most once, on first access."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gan_lab.iteration.accuracy import Accuracy
from gan_lab.iteration.gan import GAN, SharedFakes
from gan_lab.iteration.step_context import StepContext
from gan_lab.losses import adversarial
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.latents import NormalLatents


class Counting(nn.Module):
    """Counts its calls."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, value: Tensor, labels: Tensor | None = None) -> Tensor | DiscriminatorOutput:
        self.calls += 1
        return self.network(value)


class Output(nn.Module):
    """The last layer's output as a DiscriminatorOutput."""

    def forward(self, logits: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(logits.flatten().float(), logits)


@pytest.fixture
def gan() -> GAN:
    generator = Counting(nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4))))
    discriminator = Counting(nn.Sequential(nn.Flatten(), nn.Linear(16, 1), Output()))
    return GAN(generator, discriminator, NormalLatents(3))


def make_context(gan: GAN, **more: object) -> StepContext:
    return StepContext(gan, torch.randn(5, 1, 4, 4), torch.randn(5, 3), **more)  # type: ignore[arg-type]


EXPECTED = {
    "NonSaturatingGeneratorLoss": (1, 1),
    "SaturatingGeneratorLoss": (1, 1),
    "WassersteinGeneratorLoss": (1, 1),
    "LeastSquaresGeneratorLoss": (1, 1),
    "BCEDiscriminatorLoss": (1, 2),
    "HingeDiscriminatorLoss": (1, 2),
    "LeastSquaresDiscriminatorLoss": (1, 2),
    "WassersteinDiscriminatorLoss": (1, 2),
    "RelativisticDiscriminatorLoss": (1, 2),
    "RelativisticGeneratorLoss": (1, 2),
    "RelativisticAverageDiscriminatorLoss": (1, 2),
    "RelativisticAverageGeneratorLoss": (1, 2),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_and_accuracies_run_each_network_only_as_often_as_needed(gan: GAN, name: str) -> None:
    is_generator = name.endswith("GeneratorLoss")
    context = make_context(gan, generator_step=is_generator)
    assert (gan.generator.calls, gan.discriminator.calls) == (0, 0)
    term = getattr(adversarial, name)()
    term(context)
    accuracy = Accuracy([adversarial.HingeDiscriminatorLoss()])
    metrics = accuracy.generator_metrics(context) if is_generator else accuracy.discriminator_metrics(context)
    assert (gan.generator.calls, gan.discriminator.calls) == EXPECTED[name]
    assert set(metrics) == ({"fool_rate"} if is_generator else {"accuracy_real", "accuracy_fake"})


def test_fakes_have_the_generators_graph_only_in_its_own_step(gan: GAN) -> None:
    assert make_context(gan, generator_step=True).fake.requires_grad
    assert not make_context(gan, generator_step=False).fake.requires_grad


def test_a_penalty_gets_the_input_gradient(gan: GAN) -> None:
    context = make_context(gan, generator_step=False, needs_gradient_of=frozenset({"real", "fake"}))
    for images, logits in ((context.real, context.real_logits), (context.fake, context.fake_logits)):
        gradient = context.input_gradient(logits, images)
        expected = gan.discriminator.network[1].weight.view(1, 4, 4).expand(5, 1, 4, 4)  # type: ignore[index, union-attr]
        torch.testing.assert_close(gradient, expected)


def test_accuracies_use_the_decision_threshold() -> None:
    class Given:
        real_logits = torch.tensor([2.0, 0.4, 1.0, -1.0])
        fake_logits = torch.tensor([0.6, -2.0, 0.4, 0.2])
        real_output, fake_output = (
            DiscriminatorOutput(real_logits, real_logits),
            DiscriminatorOutput(fake_logits, fake_logits),
        )
        labels = None

    def metrics(term: adversarial.DiscriminatorLoss) -> Counter[str]:
        accuracy = Accuracy([term])
        found = accuracy.discriminator_metrics(Given()) | accuracy.generator_metrics(Given())  # type: ignore[arg-type]
        return Counter({name: float(value) for name, value in found.items()})  # type: ignore[misc]

    assert metrics(adversarial.HingeDiscriminatorLoss()) == {"accuracy_real": 0.75, "accuracy_fake": 0.25, "fool_rate": 0.75}
    assert metrics(adversarial.LeastSquaresDiscriminatorLoss()) == {
        "accuracy_real": 0.5,
        "accuracy_fake": 0.75,
        "fool_rate": 0.25,
    }
    # the means are 0.6 and -0.2, so the critic's threshold is 0.2; 0.2 itself is not above it
    assert metrics(adversarial.WassersteinDiscriminatorLoss())["accuracy_real"] == 0.75


def test_a_loss_without_an_adversarial_term_is_an_error() -> None:
    with pytest.raises(ValueError, match="must be an adversarial loss"):
        Accuracy([adversarial.WassersteinGeneratorLoss()])


def test_shared_fakes_keep_the_generators_graph(gan: GAN) -> None:
    shared = SharedFakes()
    discriminated = make_context(gan, generator_step=False, shared_fakes=shared).fake
    assert not discriminated.requires_grad
    reused = StepContext(gan, torch.randn(5, 1, 4, 4), shared.latents, generator_step=True, shared_fakes=shared).fake
    assert torch.equal(discriminated, reused) and reused.requires_grad
    assert gan.generator.calls == 1


def test_one_pass_over_reals_and_fakes_gives_the_outputs_of_two(gan: GAN) -> None:
    real, latents = torch.randn(5, 1, 4, 4), torch.randn(5, 3)
    joint = StepContext(gan, real, latents, generator_step=False, joint_pass=True)
    split = StepContext(gan, real, latents, generator_step=False)
    torch.testing.assert_close(joint.real_logits, split.real_logits)
    torch.testing.assert_close(joint.fake_logits, split.fake_logits)
    assert gan.discriminator.calls == 1 + 2


def test_the_compiled_discriminator_is_not_used_for_second_derivatives(gan: GAN) -> None:
    called: list[Tensor] = []

    def compiled(images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        called.append(images)
        return gan.discriminator(images, labels)

    fast = replace(gan, compiled={"discriminator": compiled})
    plain = make_context(fast, generator_step=False)
    penalized = make_context(fast, generator_step=False, needs_gradient_of=frozenset({"real"}))
    assert plain.real_logits.shape == plain.fake_logits.shape == penalized.real_logits.shape == (5,)
    plain.discriminate(plain.real)  # a penalty's own images
    assert len(called) == 2
