"""Builds the two networks of a configuration."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.models.base import Discriminator, Generator
from gan_lab.models.conditioning import GeneratorCondition


def build_generator(cfg: DictConfig) -> Generator:
    """``model.generator`` with the condition ``conditioning.generator``."""
    condition: GeneratorCondition = _condition(cfg, "generator")
    generator = instantiate(cfg.model.generator, "model.generator", condition=condition)
    condition.check(generator)
    return generator


def build_discriminator(cfg: DictConfig) -> Discriminator:
    """``model.discriminator`` with the condition ``conditioning.discriminator``."""
    return instantiate(cfg.model.discriminator, "model.discriminator", condition=_condition(cfg, "discriminator"))


def _condition(cfg: DictConfig, network: str) -> Any:
    return instantiate(cfg.conditioning[network], f"conditioning.{network}", num_classes=cfg.conditioning.num_classes or 0)
