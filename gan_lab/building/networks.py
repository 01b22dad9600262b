"""Builds the two networks of a configuration."""

from __future__ import annotations

import logging
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gan_lab.config import instantiate
from gan_lab.models.base import Discriminator, Generator
from gan_lab.models.conditioning import GeneratorCondition
from gan_lab.runtime.device import choose_device
from gan_lab.runtime.memory import total_memory

log = logging.getLogger(__name__)


def build_generator(cfg: DictConfig) -> Generator:
    """``model.generator`` with the condition ``conditioning.generator``."""
    condition: GeneratorCondition = _condition(cfg, "generator")
    generator = instantiate(cfg.model.generator, "model.generator", condition=condition)
    condition.check(generator)
    return generator


def build_discriminator(cfg: DictConfig) -> Discriminator:
    """``discriminator``, by default ``model.discriminator``, with the condition ``conditioning.discriminator``."""
    where = "model.discriminator" if _is_the_models(cfg) else "discriminator"
    return instantiate(discriminator_section(cfg), where, condition=_condition(cfg, "discriminator"))


def check_networks(cfg: DictConfig) -> None:
    """Check, before any data is read, that the networks can be built: their sizes and other values.

    They are built without memory. The number of classes is not known yet; it has no influence on this.

    Raises:
        ValueError: a network has no such size, or needs more memory than there is, or another value is wrong.
    """
    cfg = cfg.copy()
    if cfg.conditioning.labels and not cfg.conditioning.num_classes:
        cfg.conditioning.num_classes = 10
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            networks = build_generator(cfg), build_discriminator(cfg)
    except ValueError:
        raise
    except Exception as error:  # an operation that needs values; the network is checked when it is built with memory
        log.debug("networks can't be checked in advance (%s)", error)
        return
    _check_memory(cfg, sum(weights.numel() for network in networks for weights in network.parameters()))


COPIES = 4
"""Weights, their gradients and two moments of Adam, each as large as the weights."""


def _check_memory(cfg: DictConfig, weights: int) -> None:
    """Raise ValueError if the networks alone need more memory than the device has."""
    device = choose_device(cfg.device)
    needed, present = COPIES * 4 * weights, total_memory(device)
    if needed > present:
        width = cfg.model.get("width")
        raise ValueError(
            f"model{'' if width is None else f'.width={width}'}: {weights:,} weights must fit into the memory of {device}, "
            f"which "
            f"has {present / 2**30:,.1f} GiB; with gradients and the optimizer's moments they need "
            f"{needed / 2**30:,.1f} GiB. Lower "
            "model.width, or choose another model"
        )


def discriminator_section(cfg: DictConfig) -> DictConfig:
    """The section of ``cfg`` that the discriminator is built from."""
    section: DictConfig = cfg.model.discriminator if _is_the_models(cfg) else cfg.discriminator
    return section


def _is_the_models(cfg: DictConfig) -> bool:
    """Whether the discriminator is the model's own; in runs of version 0.1 there is no other."""
    return cfg.get("discriminator") is None or OmegaConf.is_interpolation(cfg, "discriminator")


def _condition(cfg: DictConfig, network: str) -> Any:
    return instantiate(cfg.conditioning[network], f"conditioning.{network}", num_classes=cfg.conditioning.num_classes or 0)
