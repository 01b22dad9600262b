"""How the networks compute: choices that change how long a step takes, and what it learns little or not at all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from omegaconf import DictConfig
from torch import nn

from gan_lab.models.activation_checkpointing import enable_activation_checkpointing
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.compiled import Compiled
from gan_lab.models.layers import BatchDependent
from gan_lab.training.precision import Precision

log = logging.getLogger(__name__)

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}

COMPILED = {"none": (), "generator": ("generator",), "both": ("generator", "discriminator")}
"""What ``compile`` stands for."""


def memory_format(cfg: DictConfig, precision: Precision) -> torch.memory_format:
    """The configured one. ``auto`` is channels last but for full precision on a GPU.

    On the CPU it is 7 to 19 % faster for DCGAN at 32 and 64 pixels (``benchmark tune=true``); on GPUs it pays where tensor
    cores compute (PyTorch's tutorial on memory formats).
    """
    if cfg.memory_format != "auto":
        return MEMORY_FORMATS[cfg.memory_format]
    full_on_gpu = precision.device.type == "cuda" and precision.dtype is None
    return torch.contiguous_format if full_on_gpu else torch.channels_last


def joint_passes(cfg: DictConfig, discriminator: nn.Module) -> bool:
    """Whether the discriminator judges reals and fakes together. ``auto``: where its word on one is the same in any company."""
    mixing = [module for module in discriminator.modules() if isinstance(module, BatchDependent)]
    if cfg.discriminator_passes == "joint" and mixing:
        log.warning(
            "discriminator_passes=joint: %s in the discriminator mixes the images of a batch, reals with fakes now: another game, and "
            "seldom a better one",
            type(mixing[0]).__name__,
        )
    return cfg.discriminator_passes == "joint" or (cfg.discriminator_passes == "auto" and not mixing)


def compiled(cfg: DictConfig, players: Mapping[str, nn.Module], precision: Precision) -> dict[str, Compiled]:
    """The players that are called through the compiler."""
    chosen = {name: players[name] for name in COMPILED[cfg.compile]}
    reason = _in_the_way(cfg, chosen, precision)
    if chosen and reason:
        log.warning("compile=%s: goes on without, %s", cfg.compile, reason)
        return {}
    return {name: Compiled(network) for name, network in chosen.items()}


def _in_the_way(cfg: DictConfig, players: Mapping[str, nn.Module], precision: Precision) -> str:
    if any(isinstance(network, ProgressiveNetwork) for network in players.values()):
        return "a growing network would be compiled anew at every step of a fade"
    if precision.is_emulated:
        return "an emulated precision looks into every product"
    return "activations to be computed again are not left to the compiler" if cfg.activation_checkpointing else ""


def describe(cfg: DictConfig, precision: Precision, joint: bool) -> str:
    """The choices in force, in words."""
    passes = "reals and fakes judged in one pass" if joint else "reals and fakes judged in two passes"
    layout = next(name for name, chosen in MEMORY_FORMATS.items() if chosen is memory_format(cfg, precision))
    parts = [
        layout.replace("_", " "),
        passes,
        "fakes reused" if cfg.reuse_fakes and cfg.gradient_accumulation_steps == 1 else "fresh fakes",
    ]
    parts += [f"{' and '.join(COMPILED[cfg.compile])} compiled"] if COMPILED[cfg.compile] else []
    return ", ".join(parts)


def checkpoint_activations(players: Iterable[nn.Module], precision: Precision) -> None:
    """Have the networks recompute activations in the backward pass, see :mod:`gan_lab.models.activation_checkpointing`.

    Raises:
        ValueError: a network has no blocks, or the precision is an emulated one.
    """
    if precision.is_emulated:
        raise ValueError(
            "activation_checkpointing=true: what is computed again would escape the rounding of an emulated precision; set activation_checkpointing=false "
            "or choose another precision"
        )
    for network in players:
        enable_activation_checkpointing(network)
