"""Losses against their closed forms, written out in float64."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from gan_lab.terms import adversarial
from gan_lab.terms.adversarial import DiscriminatorTerm
from gan_lab.terms.base import Term
from gan_lab.terms.penalties import WeightClipping

torch.manual_seed(0)
REAL, FAKE = (3 * torch.randn(64, dtype=torch.float64) for _ in range(2))


def p(logits: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-logits))


CLOSED_FORMS = {
    "LogisticDiscriminator": -(p(REAL).log().mean() + (1 - p(FAKE)).log().mean()),
    "NonSaturatingGenerator": -p(FAKE).log().mean(),
    "SaturatingGenerator": (1 - p(FAKE)).log().mean(),
    "HingeDiscriminator": -(torch.minimum(REAL - 1, torch.zeros(64)).mean() + torch.minimum(-FAKE - 1, torch.zeros(64)).mean()),
    "LinearGenerator": -FAKE.mean(),
    "LeastSquaresDiscriminator": 0.5 * ((REAL - 1) ** 2).mean() + 0.5 * (FAKE**2).mean(),
    "LeastSquaresGenerator": 0.5 * ((FAKE - 1) ** 2).mean(),
    "WassersteinDiscriminator": -(REAL.mean() - FAKE.mean()),
}


def played(real: Tensor = REAL, fake: Tensor = FAKE) -> SimpleNamespace:
    return SimpleNamespace(real_logits=real, fake_logits=fake, real=real, fake=fake)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_value_is_the_closed_form(name: str) -> None:
    torch.testing.assert_close(getattr(adversarial, name)()(played()), CLOSED_FORMS[name], rtol=1e-12, atol=1e-12)


def test_every_adversarial_term_has_a_closed_form_here() -> None:
    terms = {n for n, t in vars(adversarial).items() if isinstance(t, type) and issubclass(t, Term)}
    assert terms - {"Term", "AdversarialTerm", "DiscriminatorTerm"} == set(CLOSED_FORMS)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_stays_finite_for_extreme_logits(name: str) -> None:
    extreme = torch.tensor([-1e4, 1e4], requires_grad=True)
    value = getattr(adversarial, name)()(played(extreme, extreme))
    value.backward()
    assert value.isfinite() and extreme.grad is not None and extreme.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_one_sided_label_smoothing_is_cross_entropy_with_a_softer_real_label(smoothing: float) -> None:
    target = torch.full_like(REAL, 1 - smoothing)
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = bce(REAL, target) + bce(FAKE, torch.zeros_like(FAKE))
    torch.testing.assert_close(adversarial.LogisticDiscriminator(smoothing)(played()), expected)
    squares = 0.5 * ((REAL - (1 - smoothing)) ** 2).mean() + 0.5 * (FAKE**2).mean()
    torch.testing.assert_close(adversarial.LeastSquaresDiscriminator(smoothing)(played()), squares)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.0])
def test_nonsense_smoothing_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        adversarial.LogisticDiscriminator(smoothing)


def boundary(term: DiscriminatorTerm) -> float:
    return float(term.boundary(played()))


def test_boundaries_lie_where_the_loss_can_not_tell_real_from_fake() -> None:
    assert boundary(adversarial.LogisticDiscriminator()) == boundary(adversarial.HingeDiscriminator()) == 0
    assert boundary(adversarial.LeastSquaresDiscriminator()) == 0.5
    assert boundary(adversarial.LeastSquaresDiscriminator(0.2)) == pytest.approx(0.4)
    assert boundary(adversarial.WassersteinDiscriminator()) == pytest.approx(float(REAL.mean() + FAKE.mean()) / 2)


def test_weight_clipping_boxes_every_parameter_and_costs_no_loss() -> None:
    critic = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))
    before = [parameter.clone() for parameter in critic.parameters()]
    clipping = WeightClipping(limit=0.05)
    assert clipping(played()) == 0
    clipping.after_step(critic)
    for old, new in zip(before, critic.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old.clamp(-0.05, 0.05))
    with pytest.raises(ValueError, match="limit"):
        WeightClipping(limit=0)
