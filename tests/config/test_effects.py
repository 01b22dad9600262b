"""Overrides of keys that only stand for others are refused where nothing refers to them any more."""

from __future__ import annotations

import pytest
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from gan_lab.config import CONF_DIR
from gan_lab.config.compose import hydra_compose
from gan_lab.config.effects import SHARED, check_effects, learning_rate_keys

OWN_RATES = ["optimizer.generator.lr=1e-3", "optimizer.discriminator.lr=2e-3"]


def composed(*overrides: str) -> DictConfig:
    with hydra_compose():
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*OWN_RATES, "optimizer.lr=1e-6"], "optimizer.generator.lr and optimizer.discriminator.lr do not refer to it"),
        (
            ["optimizer.generator.betas=[0,1]", "optimizer.discriminator.betas=[0,1]", "optimizer.betas=[0.5,0.9]"],
            "optimizer.generator.betas and optimizer.discriminator.betas do not refer to it",
        ),
        (
            ["penalty=r1_r2", "penalty.discriminator.r1.weight=1", "penalty.discriminator.r2.weight=1", "penalty.gamma=2"],
            "penalty.discriminator.r1.weight and penalty.discriminator.r2.weight do not refer to it",
        ),
        (["model.generator.width=8", "model.discriminator.width=8", "model.width=4"], "model.generator.width and model.disc"),
        (
            ["++schedule.of.optimizer.lr={from: 1e-3, to: 1e-4}", "optimizer.lr=1e-6"],
            "schedule.of.optimizer.lr sets the value; give schedule.of.optimizer.lr.from",
        ),
    ],
)
def test_an_override_without_effect_is_refused(overrides: list[str], message: str) -> None:
    cfg = composed(*overrides)
    with hydra_compose(), pytest.raises(ValueError, match="has no effect, as") as refused:
        check_effects(cfg, overrides[-1:], overrides)
    assert str(refused.value).startswith(overrides[-1]) and message in str(refused.value)
    check_effects(cfg, overrides[:-1], overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.lr=1e-6"],
        ["optimizer.lr=1e-6", "optimizer.generator.lr=1e-3"],
        ["optimizer=adam_ttur", "optimizer.lr=1e-4"],
        ["++schedule.of.optimizer.lr={to: 1e-4}", "optimizer.lr=1e-3"],
        ["penalty=r1", "penalty.discriminator.r1.weight=3", "dataset.size=16", "batch_size=8", "model.latents.size=3"],
        ["model=r3gan", "schedule=r3gan", "optimizer.lr=1e-4", "penalty.gamma=2", "ema.kimg=3"],
    ],
)
def test_an_override_with_an_effect_is_accepted(overrides: list[str]) -> None:
    check_effects(composed(*overrides), overrides, overrides)


def shared_values(cfg: DictConfig, section: str) -> list[str]:
    node = OmegaConf.select(cfg, section)
    if not OmegaConf.is_dict(node):
        return [section]
    if "_target_" in node or node is None:
        return []
    raw = OmegaConf.to_container(node, resolve=False)
    assert isinstance(raw, dict)
    return [f"{section}.{key}" for key, value in raw.items() if not isinstance(value, dict) and value is not None]


@pytest.mark.slow
@pytest.mark.parametrize("group", ["model", "optimizer", "penalty", "loss", "pretraining"])
def test_every_shared_value_of_every_option_has_an_effect(group: str) -> None:
    for option in sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")):
        cfg = composed(f"{group}={option}")
        sections = [section for section in SHARED if section.startswith(group)]
        keys = [key for section in sections for key in shared_values(cfg, section)]
        check_effects(cfg, [f"{key}=1" for key in keys], [f"{group}={option}"])


def test_the_keys_of_the_learning_rates() -> None:
    assert learning_rate_keys(composed()) == ("optimizer.lr",)
    assert learning_rate_keys(composed("optimizer=adam_ttur")) == ("optimizer.lr",)
    assert learning_rate_keys(composed(OWN_RATES[1])) == ("optimizer.lr", "optimizer.discriminator.lr")
    assert learning_rate_keys(composed(*OWN_RATES)) == ("optimizer.generator.lr", "optimizer.discriminator.lr")
    scheduled = composed("++schedule.of.optimizer.lr={from: 1e-3, to: 1e-4}")
    assert learning_rate_keys(scheduled) == ("schedule.of.optimizer.lr.from",)
