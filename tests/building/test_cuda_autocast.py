"""CUDA's autocast, without a GPU: forward passes, augmentations and losses on fake CUDA tensors, which compute nothing.

CUDA's autocast runs other operations in float32 than the CPU's, nearest upsampling among them, so types can differ on a GPU
where they agree on a CPU. Fake tensors follow CUDA's rules on every machine. Backward passes, and so penalties, need a real
GPU: ``python -m gan_lab.benchmark benchmark=device`` runs them there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from helpers import compose_config, every_nth
from omegaconf import DictConfig
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gan_lab.building.networks import build_discriminator, build_generator
from gan_lab.building.phases import build_terms
from gan_lab.config import instantiate
from gan_lab.data.augmentation import Augmentations
from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.growth import GrowthState
from gan_lab.iteration.step_context import StepContext
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.models.layers import Frozen

SYNTHESIS = [
    "dcgan",
    "dcgan_cifar",
    "sngan",
    "sagan",
    "progan_small",
    "r3gan_small",
    "stylegan2_small",
    "fastgan",
    "fastgan_projected_small",
]
SUPER_RESOLUTION = ["srgan", "srgan_bn", "srgan_unet", "esrgan"]
CONDITIONINGS = ["concatenation", "conditional_batch_norm", "projection", "auxiliary_classifier"]
AUGMENTATIONS = ["diffaugment", "ada", "instance_noise", "blur"]
LOSSES = ["bce", "minimax", "hinge", "lsgan", "wasserstein", "relativistic", "relativistic_average"]

FP16, BF16 = torch.float16, torch.bfloat16
CASES: list[tuple[list[str], torch.dtype, float]] = [
    *((["model=" + family], dtype, 1.0) for family in [*SYNTHESIS, *SUPER_RESOLUTION] for dtype in (FP16, BF16)),
    *((["model=" + family, "conditioning=" + name], FP16, 1.0) for family in SYNTHESIS for name in CONDITIONINGS),
    (["model=r3gan_small", "conditioning=embedding"], FP16, 1.0),
    *((["model=dcgan", "augment=" + name], dtype, 1.0) for name in AUGMENTATIONS for dtype in (FP16, BF16)),
    *((["model=dcgan", "loss=" + name], FP16, 1.0) for name in LOSSES),
    *((["model=progan_small"], dtype, 0.5) for dtype in (FP16, BF16)),
    *((["model=progan_small", "conditioning=" + name], FP16, 0.5) for name in CONDITIONINGS),
    *((["model=progan_small", "augment=" + name], BF16, 0.5) for name in AUGMENTATIONS),
]
"""Overrides, autocast's type, and how far the newest layers have faded in."""

COUNT = 4


@contextmanager
def cuda_autocast(dtype: torch.dtype) -> Iterator[None]:
    """``torch.autocast("cuda", dtype)``, which switches itself off where there is no CUDA."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


@contextmanager
def fake_cuda() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_device("cuda")
        try:
            yield
        finally:
            torch.set_default_device("cpu")


def compose(case: list[str]) -> DictConfig:
    if case[0].removeprefix("model=") in SUPER_RESOLUTION:
        data = ["degradation=bicubic", "dataset=folder", "dataset.path=.", "dataset.resize_mode=none", "pretraining=none"]
        data.append("loss=bce")  # perceptual losses load weights
    else:
        data = ["dataset.size=32"]
    cfg = compose_config(*case, "model.width=8", "penalty=none", *data)  # a penalty is a backward pass
    if cfg.conditioning.labels:
        cfg.conditioning.num_classes = 10
    return cfg


def move_frozen_weights(network: nn.Module) -> None:
    """They are read on the CPU; other tensors are created on the device."""
    for module in network.modules():
        for name, buffer in list(module.named_buffers(recurse=False)) if isinstance(module, Frozen) else ():
            setattr(module, name, buffer.to("cuda"))


@pytest.mark.parametrize(
    ("case", "dtype", "alpha"),
    every_nth(CASES, 21),  # an odd step, or all would be of one type
    ids=[" ".join([*case, str(dtype), f"alpha={alpha}"]) for case, dtype, alpha in CASES],
)
def test_forward_passes_and_losses_hold_under_cudas_autocast(case: list[str], dtype: torch.dtype, alpha: float) -> None:
    cfg = compose(case)
    upscales = case[0].removeprefix("model=") in SUPER_RESOLUTION
    terms = {name: build_terms(cfg, name) for name in ("discriminator", "generator")}
    with fake_cuda():
        generator, discriminator = build_generator(cfg), build_discriminator(cfg)
        move_frozen_weights(discriminator)
        size = cfg.degradation.patch if upscales else cfg.dataset.size
        state = GrowthState(size, alpha, COUNT, 1.0)
        for network in (generator, discriminator):
            if isinstance(network, ProgressiveNetwork):
                network.set_resolution(size, alpha)
        labels = torch.zeros(COUNT, 10) if cfg.conditioning.labels else None
        gan = GAN(
            generator,
            discriminator,
            NoLatents() if upscales else NormalLatents(cfg.model.latents.size),
            NoLabels() if labels is None else Labels([str(n) for n in range(10)], torch.ones(10)),
            Augmentations({name: instantiate(node, f"augment.{name}") for name, node in cfg.augment.items()}),
        )
        batch = state.match_resolution(Batch(torch.zeros(COUNT, cfg.dataset.channels, size, size), None))
        small = size // cfg.degradation.scale if upscales else 0
        latents = torch.zeros(COUNT, *([cfg.dataset.channels, small, small] if upscales else [cfg.model.latents.size]))
        for name in ("discriminator", "generator"):
            context = StepContext(gan, batch.real, latents, labels, generator_step=name == "generator")
            with cuda_autocast(dtype):
                losses = [term(context) for term in terms[name].values()]
            assert losses and all(loss.dtype == torch.float32 and loss.dim() == 0 for loss in losses)
