"""The update of one network compared with the same update in plain PyTorch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from toy_gan import CPU, TERMS, flat_weights, latents_rng, make_batch, make_gan, make_phase

from gan_lab.iteration.gan import SharedFakes
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.precision import Precision
from gan_lab.losses import adversarial
from gan_lab.losses.base import LossContext, LossTerm


@pytest.mark.parametrize("name", ["d", "g"])
def test_a_step_is_gradient_descent_on_the_loss_of_one_network(name: str) -> None:
    game = make_gan()
    by_hand = copy.deepcopy(game)
    term = adversarial.BCEDiscriminatorLoss() if name == "d" else adversarial.NonSaturatingGeneratorLoss()
    phase = make_phase(game, name, term)
    figures = phase.step(game, make_batch())

    fake = by_hand.generator(torch.randn(8, 3, generator=latents_rng()))
    logits = by_hand.discriminator(fake if name == "g" else fake.detach()).logits
    bce = nn.functional.binary_cross_entropy_with_logits
    if name == "d":
        loss = bce(by_hand.discriminator(make_batch().real).logits, torch.ones(8)) + bce(logits, torch.zeros(8))
    else:
        loss = bce(logits, torch.ones(8))
    player, idle = (by_hand.generator, by_hand.discriminator) if name == "g" else (by_hand.discriminator, by_hand.generator)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(player.parameters()))])
    torch.testing.assert_close(flat_weights(phase.network), flat_weights(player) - 0.1 * gradient)
    assert torch.equal(flat_weights(phase.opponent), flat_weights(idle))
    torch.testing.assert_close(figures[f"{name}/loss"], loss.detach())
    torch.testing.assert_close(figures[f"{name}/gradient_norm"], gradient.norm())


@pytest.mark.parametrize("name", TERMS)
def test_accumulated_micro_batches_make_the_step_of_the_whole_batch(name: str) -> None:
    results = []
    for accumulate in (1, 4):
        game = make_gan()
        phase = make_phase(game, name[0] if name == "g" else "d", TERMS[name], num_micro_batches=accumulate)
        figures = phase.step(game, make_batch())
        results.append((flat_weights(phase.network), figures))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(dict(results[0][1]), dict(results[1][1]))


def test_clipping_limits_the_step_and_reports_the_norm_before() -> None:
    game = make_gan()
    phase = make_phase(game, "d", adversarial.BCEDiscriminatorLoss(weight=50.0), max_grad_norm=0.25)
    before = flat_weights(game.discriminator)
    norm = phase.step(game, make_batch())["d/gradient_norm"]
    assert norm > 0.25
    assert (flat_weights(game.discriminator) - before).norm().item() == pytest.approx(0.1 * 0.25, rel=1e-4)


def test_a_weight_scales_the_loss_but_not_the_logged_term() -> None:
    game = make_gan()
    figures = make_phase(game, "g", adversarial.NonSaturatingGeneratorLoss(weight=3.0)).step(game, make_batch())
    torch.testing.assert_close(figures["g/loss"], 3 * figures["g/loss_term"])


def test_the_generator_is_updated_every_n_critic_steps() -> None:
    phase = make_phase(make_gan(), "g", adversarial.WassersteinGeneratorLoss(), update_interval=5)
    assert [n for n in range(20) if phase.due(n)] == [4, 9, 14, 19]


class Lazy(LossTerm):
    """The mean logit of fakes."""

    def __call__(self, round: LossContext) -> torch.Tensor:
        return round.fake_logits.mean()


def test_a_lazy_term_has_its_own_update_every_nth_step_with_n_times_its_weight() -> None:
    game = make_gan()
    by_hand = copy.deepcopy(game.discriminator)
    terms = {"lazy": Lazy(weight=2.0, interval=3), "main": adversarial.HingeDiscriminatorLoss(weight=0.0)}
    phase = Phase(
        "d",
        game.discriminator,
        game.generator,
        torch.optim.SGD(game.discriminator.parameters(), 0.1),
        terms,
        (),
        Precision(CPU),
    )
    seen = []
    for _ in range(4):
        seen.append(phase.step(game, make_batch()))
        phase.advance()
    assert ["d/lazy" in figures for figures in seen] == [True, False, False, True]
    random = latents_rng()
    for n in range(4):
        torch.randn(8, 3, generator=random)  # the main update's latents
        if n % 3 == 0:
            loss = 6 * by_hand(game.generator(torch.randn(8, 3, generator=random)).detach()).logits.mean()
            for parameter, gradient in zip(
                by_hand.parameters(), torch.autograd.grad(loss, list(by_hand.parameters())), strict=True
            ):
                parameter.data -= 0.1 * 0.75 * gradient  # the rate corrected for 4 updates in 3 steps
    torch.testing.assert_close(flat_weights(game.discriminator), flat_weights(by_hand))
    with pytest.raises(ValueError, match="interval=0"):
        Lazy(interval=0)


def test_adam_is_corrected_for_lazy_updates_as_in_stylegan2() -> None:
    game = make_gan()
    adam = torch.optim.Adam(game.discriminator.parameters(), lr=0.002, betas=(0.0, 0.99))
    terms = {"main": adversarial.HingeDiscriminatorLoss(), "lazy": Lazy(interval=16)}
    Phase("d", game.discriminator, game.generator, adam, terms, (), Precision(CPU))
    assert adam.param_groups[0]["lr"] == pytest.approx(0.002 * 16 / 17)
    assert adam.param_groups[0]["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    rms = torch.optim.RMSprop(game.discriminator.parameters(), lr=0.002, alpha=0.99)
    Phase("d", game.discriminator, game.generator, rms, terms, (), Precision(CPU))
    assert rms.param_groups[0]["alpha"] == pytest.approx(0.99 ** (16 / 17))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_steps_stay_near_float32(dtype: str) -> None:
    steps = []
    for precision in (Precision(CPU), Precision(CPU, autocast=dtype, loss_scaling=dtype == "float16")):
        game = make_gan()
        phase = make_phase(game, "d", adversarial.BCEDiscriminatorLoss(), precision=precision)
        before = flat_weights(game.discriminator)
        figures = phase.step(game, make_batch())
        assert figures["d/loss"].dtype == torch.float32
        steps.append(flat_weights(game.discriminator) - before)
    assert (steps[0] - steps[1]).norm() < 0.03 * steps[0].norm()


def test_an_overflow_under_float16_skips_the_step_and_lowers_the_scale() -> None:
    game = make_gan()
    phase = make_phase(
        game,
        "d",
        adversarial.BCEDiscriminatorLoss(weight=1e36),
        precision=Precision(CPU, autocast="float16", loss_scaling=True),
    )
    before, scale = flat_weights(game.discriminator), phase.scaler.get_scale()
    figures = phase.step(game, make_batch())
    assert torch.equal(flat_weights(game.discriminator), before)
    assert figures["d/skipped_steps"] == 1 and not figures["d/gradient_norm"].isfinite()
    assert phase.optimizer_metrics()["d/loss_scale"] == scale / 2


def test_steps_skipped_one_after_the_other_are_counted_also_after_a_resume() -> None:
    game = make_gan()
    phase = make_phase(
        game, "d", adversarial.BCEDiscriminatorLoss(), precision=Precision(CPU, autocast="float16", loss_scaling=True)
    )
    assert phase.step(game, make_batch())["d/skipped_steps"] == 0 == phase.skipped_in_a_row()
    phase.set_weight("loss_term", float("inf"))
    assert [float(phase.step(game, make_batch())["d/skipped_steps"]) for _ in range(3)] == [1, 1, 1]
    assert phase.skipped_in_a_row() == 3
    other = make_phase(make_gan(), "d", adversarial.BCEDiscriminatorLoss(), precision=phase.precision)
    other.load_state_dict(phase.state_dict())
    assert other.skipped_in_a_row() == 3
    phase.set_weight("loss_term", 1.0)
    phase.step(game, make_batch())
    assert phase.skipped_in_a_row() == 0


def test_a_learning_rate_changed_for_a_resume_wins_over_the_stored_one() -> None:
    game = make_gan()
    state = make_phase(game, "d", adversarial.HingeDiscriminatorLoss()).state_dict()
    phase = make_phase(game, "d", adversarial.HingeDiscriminatorLoss())
    phase.optimizer.param_groups[0]["lr"] = 0.025
    phase.load_state_dict(state)
    assert phase.optimizer.param_groups[0]["lr"] == 0.025


def test_tf32_is_an_error_on_devices_without_it() -> None:
    with pytest.raises(ValueError, match="precision=tf32 needs"):
        Precision(CPU, tf32=True)
    with pytest.raises(ValueError, match="autocast=int4"):
        Precision(CPU, autocast="int4")


def test_steps_on_shared_fakes_equal_an_iteration_of_the_dcgan_tutorial() -> None:
    """pytorch/examples ``dcgan/main.py``: the discriminator learns, then discriminates the same fakes for the generator."""
    game = make_gan()
    by_hand = copy.deepcopy(make_gan())
    phases = [
        make_phase(game, "d", adversarial.BCEDiscriminatorLoss()),
        make_phase(game, "g", adversarial.NonSaturatingGeneratorLoss()),
    ]
    handed = SharedFakes()
    for phase in phases:
        phase.step(game, make_batch(), handed)

    fake = by_hand.generator(handed.latents)
    softplus, judge = nn.functional.softplus, lambda images: by_hand.discriminator(images).logits
    loss = softplus(-judge(make_batch().real)).mean() + softplus(judge(fake.detach())).mean()
    descend(by_hand.discriminator, loss)
    descend(by_hand.generator, softplus(-judge(fake)).mean())
    torch.testing.assert_close(flat_weights(game.discriminator), flat_weights(by_hand.discriminator))
    torch.testing.assert_close(flat_weights(game.generator), flat_weights(by_hand.generator))


def descend(network: nn.Module, loss: torch.Tensor, rate: float = 0.1) -> None:
    """One step of gradient descent."""
    gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter -= rate * gradient
