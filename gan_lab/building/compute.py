"""Settings of how the networks are computed; they change the speed of a step and its result at most by rounding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from gan_lab.iteration.capturable_optimizer import why_not_capturable
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.precision import Precision
from gan_lab.models.activation_checkpointing import enable_activation_checkpointing
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.layers import BatchDependent

log = logging.getLogger(__name__)

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}

COMPILED = {"none": (), "generator": ("generator",), "both": ("generator", "discriminator")}
"""Names of the networks that each value of ``compile`` compiles."""


def memory_format(cfg: DictConfig, precision: Precision) -> torch.memory_format:
    """The configured memory format. ``auto`` is channels last, except in full precision on a GPU.

    On a CPU, channels last is 7 to 19 % faster for DCGAN at 32 and 64 pixels (``benchmark tune=true``); on GPUs it is faster
    if tensor cores are used (PyTorch's tutorial on memory formats).
    """
    if cfg.memory_format != "auto":
        return MEMORY_FORMATS[cfg.memory_format]
    full_precision_on_gpu = precision.device.type == "cuda" and precision.dtype is None
    return torch.contiguous_format if full_precision_on_gpu else torch.channels_last


def joint_pass(cfg: DictConfig, discriminator: nn.Module) -> bool:
    """Whether reals and fakes are discriminated in one pass; for ``auto``, if no layer mixes the images of a batch."""
    mixing = [module for module in discriminator.modules() if isinstance(module, BatchDependent)]
    if cfg.discriminator_passes == "joint" and mixing:
        log.warning(
            "discriminator_passes=joint: %s in the discriminator mixes the images of a batch, so reals and fakes influence "
            "each other. This usually makes training worse; discriminator_passes=split avoids it",
            type(mixing[0]).__name__,
        )
    return cfg.discriminator_passes == "joint" or (cfg.discriminator_passes == "auto" and not mixing)


def compiled(cfg: DictConfig, networks: Mapping[str, nn.Module], precision: Precision) -> dict[str, Callable[..., Any]]:
    """The compiled networks of ``cfg.compile`` by name; empty, with a warning, if ``torch.compile`` can't be used."""
    chosen = {name: networks[name] for name in COMPILED[cfg.compile]}
    reason = _why_not_compiled(cfg, chosen, precision)
    if chosen and reason:
        log.warning("compile=%s: continues without compiling, because %s", cfg.compile, reason)
        return {}
    return {name: torch.compile(network) for name, network in chosen.items()}


def _why_not_compiled(cfg: DictConfig, networks: Mapping[str, nn.Module], precision: Precision) -> str:
    if any(isinstance(network, ProgressiveNetwork) for network in networks.values()):
        return "a growing network would be compiled again at every step of a fade-in"
    if precision.is_emulated:
        return "an emulated precision rounds the factors of every product"
    return "it does not work with activation_checkpointing=true" if cfg.activation_checkpointing else ""


def why_not_captured(cfg: DictConfig, gan: GAN, phases: Sequence[Phase]) -> str:
    """Why iterations can't be recorded as CUDA graphs; empty if they can."""
    if gan.processes.world_size > 1:
        return "several processes exchange gradients in every step"
    if gan.compiled:
        return "a network is compiled by torch.compile"
    if cfg.activation_checkpointing:
        return "activation checkpointing reads the state of the random generator"
    if names := [name for phase in phases for name, term in phase.terms.items() if term.draws_on_host]:
        return f"the loss term {names[0]} draws random numbers on the host"
    reasons = (why_not_capturable(phase.optimizer) for phase in phases)
    return next(filter(None, reasons), "")


def describe(cfg: DictConfig, precision: Precision, joint: bool) -> str:
    """The settings in use, in one line."""
    layout = next(name for name, chosen in MEMORY_FORMATS.items() if chosen is memory_format(cfg, precision))
    parts = [
        layout.replace("_", " "),
        "one discriminator pass over reals and fakes" if joint else "separate discriminator passes over reals and fakes",
        "fakes reused" if cfg.reuse_fakes and cfg.gradient_accumulation_steps == 1 else "new fakes for the generator",
    ]
    parts += [f"{' and '.join(COMPILED[cfg.compile])} compiled"] if COMPILED[cfg.compile] else []
    return ", ".join(parts)


def checkpoint_activations(networks: Iterable[nn.Module], precision: Precision) -> None:
    """Have the networks recompute activations in the backward pass, see :mod:`gan_lab.models.activation_checkpointing`.

    Raises:
        ValueError: a network has no blocks, or the precision is emulated.
    """
    if precision.is_emulated:
        raise ValueError(
            "activation_checkpointing=true: recomputed activations would not be rounded by an emulated precision; set "
            "activation_checkpointing=false or choose another precision"
        )
    for network in networks:
        enable_activation_checkpointing(network)
