"""Losses compared with their closed forms in float64, and penalties on discriminators with a known gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from gan_lab.iteration.gan import GAN
from gan_lab.iteration.step_context import StepContext
from gan_lab.losses import adversarial, penalties
from gan_lab.losses.adversarial import DiscriminatorLoss
from gan_lab.losses.auxiliary import AuxiliaryClassifierFakeLoss, AuxiliaryClassifierRealLoss, FeatureMatchingLoss
from gan_lab.losses.base import LossTerm
from gan_lab.losses.penalties import WeightClipping
from gan_lab.models import dcgan
from gan_lab.models.base import DiscriminatorOutput
from gan_lab.models.latents import NormalLatents

torch.manual_seed(0)
REAL, FAKE = (3 * torch.randn(64, dtype=torch.float64) for _ in range(2))


def p(logits: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-logits))


CLOSED_FORMS = {
    "BCEDiscriminatorLoss": -(p(REAL).log().mean() + (1 - p(FAKE)).log().mean()),
    "NonSaturatingGeneratorLoss": -p(FAKE).log().mean(),
    "SaturatingGeneratorLoss": (1 - p(FAKE)).log().mean(),
    "HingeDiscriminatorLoss": -(
        torch.minimum(REAL - 1, torch.zeros(64)).mean() + torch.minimum(-FAKE - 1, torch.zeros(64)).mean()
    ),
    "WassersteinGeneratorLoss": -FAKE.mean(),
    "LeastSquaresDiscriminatorLoss": 0.5 * ((REAL - 1) ** 2).mean() + 0.5 * (FAKE**2).mean(),
    "LeastSquaresGeneratorLoss": 0.5 * ((FAKE - 1) ** 2).mean(),
    "WassersteinDiscriminatorLoss": -(REAL.mean() - FAKE.mean()),
    "RelativisticDiscriminatorLoss": -p(REAL - FAKE).log().mean(),
    "RelativisticGeneratorLoss": -p(FAKE - REAL).log().mean(),
    "RelativisticAverageDiscriminatorLoss": -0.5
    * (p(REAL - FAKE.mean()).log().mean() + (1 - p(FAKE - REAL.mean())).log().mean()),
    "RelativisticAverageGeneratorLoss": -0.5 * (p(FAKE - REAL.mean()).log().mean() + (1 - p(REAL - FAKE.mean())).log().mean()),
}


def logits_context(real: Tensor = REAL, fake: Tensor = FAKE) -> SimpleNamespace:
    return SimpleNamespace(real_logits=real, fake_logits=fake, real=real, fake=fake)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_loss_equals_its_closed_form(name: str) -> None:
    torch.testing.assert_close(getattr(adversarial, name)()(logits_context()), CLOSED_FORMS[name], rtol=1e-12, atol=1e-12)


def test_every_adversarial_loss_has_a_closed_form_here() -> None:
    terms = {n for n, t in vars(adversarial).items() if isinstance(t, type) and issubclass(t, LossTerm)}
    assert terms - {"LossTerm", "AdversarialLoss", "DiscriminatorLoss", "CriticLoss"} == set(CLOSED_FORMS)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_losses_and_gradients_stay_finite_for_extreme_logits(name: str) -> None:
    extreme = torch.tensor([-1e4, 1e4], requires_grad=True)
    value = getattr(adversarial, name)()(logits_context(extreme, extreme))
    value.backward()
    assert value.isfinite() and extreme.grad is not None and extreme.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_one_sided_label_smoothing_lowers_the_real_target(smoothing: float) -> None:
    target = torch.full_like(REAL, 1 - smoothing)
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = bce(REAL, target) + bce(FAKE, torch.zeros_like(FAKE))
    torch.testing.assert_close(adversarial.BCEDiscriminatorLoss(smoothing)(logits_context()), expected)
    squares = 0.5 * ((REAL - (1 - smoothing)) ** 2).mean() + 0.5 * (FAKE**2).mean()
    torch.testing.assert_close(adversarial.LeastSquaresDiscriminatorLoss(smoothing)(logits_context()), squares)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.0])
def test_label_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        adversarial.BCEDiscriminatorLoss(smoothing)


def threshold(term: DiscriminatorLoss) -> float:
    return float(term.decision_threshold(logits_context()))


def test_decision_thresholds() -> None:
    assert threshold(adversarial.BCEDiscriminatorLoss()) == threshold(adversarial.HingeDiscriminatorLoss()) == 0
    assert threshold(adversarial.LeastSquaresDiscriminatorLoss()) == 0.5
    assert threshold(adversarial.LeastSquaresDiscriminatorLoss(0.2)) == pytest.approx(0.4)
    assert threshold(adversarial.WassersteinDiscriminatorLoss()) == pytest.approx(float(REAL.mean() + FAKE.mean()) / 2)


# -- penalties, on discriminators with a known gradient ---------------------------------------------------------------------


class FunctionDiscriminator(nn.Module):
    """A discriminator that applies a function to flattened images."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        flat = images.flatten(1)
        return DiscriminatorOutput(self.function(flat), flat)


class ConstantGenerator(nn.Module):
    """A generator that always returns the same batch."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.images * 1.0


WEIGHTS = torch.linspace(-1, 2, 16, dtype=torch.float64)
REALS, FAKES = (torch.randn(6, 1, 4, 4, dtype=torch.float64) for _ in range(2))


def step_context(function: Callable[[Tensor], Tensor], term: LossTerm | None = None, **more: object) -> StepContext:
    needs = term.needs_gradient_of if term else frozenset()
    gan = GAN(ConstantGenerator(FAKES), FunctionDiscriminator(function), NormalLatents(1))
    more.setdefault("generator_step", False)
    return StepContext(gan, REALS, torch.zeros(6, 1), needs_gradient_of=needs, **more)  # type: ignore[arg-type]


def linear(flat: Tensor) -> Tensor:
    return flat @ WEIGHTS + 0.25


def square(flat: Tensor) -> Tensor:
    return flat.square().sum(1)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (penalties.GradientPenalty(), (WEIGHTS.norm() - 1) ** 2),
        (penalties.GradientPenalty(target=0.0), WEIGHTS.norm() ** 2),
        (penalties.DRAGANPenalty(target=2.0), (WEIGHTS.norm() - 2) ** 2),
        (penalties.R1Penalty(), WEIGHTS.norm() ** 2 / 2),
        (penalties.R2Penalty(), WEIGHTS.norm() ** 2 / 2),
    ],
)
def test_the_gradient_of_a_linear_discriminator_is_its_weights(term: LossTerm, expected: Tensor) -> None:
    torch.testing.assert_close(term(step_context(linear, term)).double(), expected, rtol=1e-6, atol=1e-6)


def test_r1_is_on_reals_and_r2_on_fakes() -> None:
    for term, images in ((penalties.R1Penalty(), REALS), (penalties.R2Penalty(), FAKES)):
        expected = (2 * images).flatten(1).square().sum(1).mean() / 2
        torch.testing.assert_close(term(step_context(square, term)).double(), expected, rtol=1e-6, atol=1e-6)
    assert penalties.R1Penalty().weight == 1.0, "gamma is set in the configuration"


def test_points_of_the_gradient_penalty_and_of_dragan() -> None:
    between = penalties.GradientPenalty().points(step_context(square))
    fraction = ((between - REALS) / (FAKES - REALS)).flatten(1)
    torch.testing.assert_close(fraction, fraction[:, :1].expand_as(fraction))
    assert fraction.min() >= 0 and fraction.max() <= 1 and fraction[:, 0].std() > 0.05
    near = (penalties.DRAGANPenalty(spread=0.5).points(step_context(square)) - REALS) / REALS.std()
    assert near.min() >= 0 and near.max() <= 0.5 and near.std() > 0.02


def test_minimizing_a_penalty_brings_the_gradient_norm_to_its_target() -> None:
    weight = nn.Parameter(WEIGHTS.clone())
    term = penalties.GradientPenalty()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        term(step_context(lambda flat: flat @ weight, term)).backward()
        optimizer.step()
    assert weight.norm().item() == pytest.approx(1.0, abs=1e-3)


def test_the_drift_penalty_is_the_mean_square_of_real_logits() -> None:
    torch.testing.assert_close(penalties.DriftPenalty()(step_context(linear)), linear(REALS.flatten(1)).square().mean())


@pytest.mark.parametrize(
    "term", [penalties.GradientPenalty(), penalties.DRAGANPenalty(), penalties.R1Penalty(), penalties.R2Penalty()]
)
@pytest.mark.parametrize(("dtype", "scale"), [("bfloat16", None), ("float16", 2.0**16)])
def test_penalties_in_half_precision_agree_with_float64(term: LossTerm, dtype: str, scale: float | None) -> None:
    """Gradients of about 1e-4: float16's smallest normal number is 6e-5, so without the scale they would lose precision."""
    torch.manual_seed(4)
    network = nn.Sequential(nn.Linear(16, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    network[4].weight.data.mul_(1e-3)
    exact = copy.deepcopy(network).double()
    torch.manual_seed(5)
    wanted = term(step_context(lambda flat: exact(flat).flatten(), term)).double()
    torch.manual_seed(5)
    tensor = None if scale is None else torch.tensor(scale)
    single = GAN(
        ConstantGenerator(FAKES.float()), FunctionDiscriminator(lambda flat: network(flat).flatten().float()), NormalLatents(1)
    )
    with torch.autocast("cpu", getattr(torch, dtype)):
        context = StepContext(
            single,
            REALS.float(),
            torch.zeros(6, 1),
            generator_step=False,
            needs_gradient_of=term.needs_gradient_of,
            scale=tensor,
        )
        value = term(context)
    assert value.dtype == torch.float32
    tolerance = 1e-2 if dtype == "float16" else 5e-2  # bfloat16 has 8 bits
    torch.testing.assert_close(value.detach().double(), wanted.detach(), rtol=tolerance, atol=0)
    value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters() if p.dim() == 2)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_penalties_are_finite_in_float16_with_every_normalization(norm: str) -> None:
    """An untrained DCGAN has small activations, for which the second derivative of a float16 batch norm is not finite."""
    torch.manual_seed(0)
    discriminator = dcgan.Discriminator(16, 1, width=4, norm=norm)
    exact = copy.deepcopy(discriminator).double()
    images = torch.randn(8, 1, 16, 16)
    values = []
    for network, dtype, scale in ((discriminator, torch.float16, torch.tensor(1024.0)), (exact, torch.float64, None)):
        inputs = images.to(torch.float32 if dtype == torch.float16 else dtype)
        context = StepContext(
            GAN(ConstantGenerator(inputs), network, NormalLatents(1)),
            inputs,
            torch.zeros(8, 1),
            generator_step=False,
            needs_gradient_of=frozenset({"real"}),
            scale=scale,
        )
        with torch.autocast("cpu", torch.float16, enabled=dtype == torch.float16):
            value = penalties.R1Penalty()(context)
        value.backward()
        values.append(value.detach().double())
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    torch.testing.assert_close(values[0], values[1], rtol=1e-2, atol=0)


# -- auxiliary losses ------------------------------------------------------------------------------------------------------


def test_feature_matching_is_the_distance_of_mean_features_and_trains_the_generator() -> None:
    context = step_context(linear, generator_step=True)
    value = FeatureMatchingLoss()(context)
    expected = (REALS.flatten(1).mean(0) - FAKES.flatten(1).mean(0)).square().mean()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    value.backward()
    assert context.gan.generator.images.grad.abs().sum() > 0  # type: ignore[union-attr, operator]


def test_the_classifier_loss_is_cross_entropy_of_classes_or_of_each_attribute() -> None:
    logits = torch.randn(6, 3)
    labels = torch.eye(3)[torch.tensor([0, 2, 1, 1, 0, 2])]
    output = SimpleNamespace(class_logits=logits)
    context = SimpleNamespace(real_output=output, fake_output=output, labels=labels, multi_label=False)
    expected = -(labels * (logits - logits.logsumexp(1, keepdim=True))).sum(1).mean()
    torch.testing.assert_close(AuxiliaryClassifierRealLoss()(context), expected)
    context.multi_label = True
    expected = -(labels * p(logits).log() + (1 - labels) * (1 - p(logits)).log()).mean()
    torch.testing.assert_close(AuxiliaryClassifierFakeLoss()(context), expected)


def test_weight_clipping_clamps_every_parameter_and_adds_no_loss() -> None:
    critic = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))
    before = [parameter.clone() for parameter in critic.parameters()]
    clipping = WeightClipping(limit=0.05)
    assert clipping(logits_context()) == 0
    clipping.after_step(critic)
    for old, new in zip(before, critic.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old.clamp(-0.05, 0.05))
    with pytest.raises(ValueError, match="limit"):
        WeightClipping(limit=0)
