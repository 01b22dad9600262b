"""Activation checkpointing: compared with training that stores all activations."""

from __future__ import annotations

import copy
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import every_nth, make_job
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_lab.building.gan import build_gan
from gan_lab.building.phases import build_phases
from gan_lab.building.precision import build_precision
from gan_lab.building.tasks import build_task
from gan_lab.config import CONF_DIR
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import GAN, SharedFakes
from gan_lab.iteration.phase import Phase
from gan_lab.models import dcgan, dcgan_cifar, fastgan, progan, r3gan, sngan, srgan, stylegan2
from gan_lab.models.activation_checkpointing import FAMILIES, CheckpointedBlocks, enable_activation_checkpointing
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.conditioning import ConditionalSequential
from gan_lab.models.latents import NoLatents
from gan_lab.models.sync_batch_norm import convert_sync_batch_norm
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.utils.image_ops import normalize

CPU = torch.device("cpu")


def make_gan(path: Path, *overrides: str, size: int = 16, count: int = 8) -> tuple[GAN, tuple[Phase, ...], Batch]:
    """An untrained GAN, half faded in if it grows, its phases, and one batch of random images."""
    job = make_job(path, f"dataset.size={size}", "dataset.channels=3", "n_critic=1", *overrides)
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=random)
    data = ImageDataset.from_arrays(pixels.numpy(), np.arange(count) % 3, ("a", "b", "c"))
    torch.manual_seed(0)
    precision = build_precision(job, CPU)
    gan = build_gan(job.cfg, data, precision, SingleProcess(), build_task(job.cfg).latents())
    for network in (gan.generator, gan.discriminator):
        if isinstance(network, ProgressiveNetwork):
            network.set_resolution(size, 0.5)
    real = normalize(data.images(slice(None)), precision.param_dtype)
    low = avg_pool2d(real, 4) if isinstance(gan.latents, NoLatents) else None
    batch = Batch(real, data.labels_of(np.arange(count)), low)
    return gan, build_phases(job.cfg, gan, precision), batch


def iterate(gan: GAN, phases: tuple[Phase, ...], batch: Batch) -> list[dict[str, Tensor]]:
    shared_fakes = SharedFakes() if gan.reuse_fakes else None
    metrics = [phase.step(gan, batch, shared_fakes) for phase in phases]
    for phase in phases:
        phase.advance()
    return metrics


CASES = {
    "batch-norm-and-shared-fakes": ["model=dcgan", "loss=bce"],
    "spectral-norm-and-scaled-r1": ["model=dcgan", "model.spectral_norm=true", "penalty=r1_r2", "precision=fp16"],
    "dropout-and-gradient-penalty": ["model=dcgan_cifar", "penalty=gradient_penalty", "conditioning=projection"],
    "attention-and-bf16": [
        *("model=sagan", "model.attention=8", "penalty=gradient_penalty", "precision=bf16"),
        "conditioning=conditional_batch_norm",
    ],
    "two-passes-and-micro-batches": [
        "model=sngan",
        "discriminator_passes=split",
        "gradient_accumulation_steps=2",
        "penalty=r1",
        "penalty.interval=2",
    ],
    "progressive-growing": ["model=progan", "conditioning=concatenation", "gradient_accumulation_steps=2"],
    "residual-without-norm": [
        "model=r3gan_small",
        "model.width=8",
        "conditioning=embedding",
        "reuse_fakes=true",
        "reuse_reals=true",
    ],
    "styles-and-path-length": ["model=stylegan2_small", "model.half_precision_resolutions=1"],
    "frozen-features": [
        *("model=fastgan_projected_small", "model.width=4", "model.lite=false", "augment=none"),
        *("model.discriminator.width=4", "model.discriminator.resize=32"),
    ],
    "super-resolution": ["model=srgan", "model.blocks=2", "degradation.patch=16", "perception=random"],
    "dense-blocks": ["model=esrgan", "model.blocks=1", "model.growth_channels=4", "degradation.patch=16", "perception=random"],
}


@pytest.mark.parametrize("overrides", every_nth(CASES.values(), 3), ids=CASES)
@pytest.mark.filterwarnings("ignore:lr_scheduler")
def test_training_is_bit_for_bit_the_same_with_checkpointing(overrides: list[str], tmp_path: Path) -> None:
    results = []
    for enabled in ("false", "true"):
        gan, phases, batch = make_gan(tmp_path, *overrides, f"activation_checkpointing={enabled}")
        steps = 10 if phases[0].scaler.is_enabled() else 2  # the scaler's first scales overflow
        metrics = [iterate(gan, phases, batch) for _ in range(steps)]
        networks = (gan.generator, gan.discriminator)
        gradients = [[parameter.grad for parameter in network.parameters()] for network in networks]
        states = [{k: v for k, v in network.state_dict().items() if isinstance(v, Tensor)} for network in networks]
        results.append((metrics, gradients, states, torch.get_rng_state()))
    assert all(any(each is not None and each.norm().isfinite() and each.any() for each in network) for network in results[0][1])
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of live tensors created inside the context, including gradients and tensors of backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(tensor.untyped_storage()) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in self._known | given:
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self._live)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        self._known.add(id(storage))
        self._live += storage.nbytes()
        weakref.finalize(storage, self._freed, id(storage), storage.nbytes())

    def _freed(self, key: int, count: int) -> None:
        self._known.remove(key)
        self._live -= count


@pytest.mark.parametrize(
    ("overrides", "fraction"),
    every_nth(
        [
            (["model=dcgan", "model.width=16"], 0.7),
            (["model=dcgan_cifar", "model.width=16"], 0.75),
            (["model=sngan", "model.width=8"], 0.7),
            (["model=progan", "model.width=8", "model.latents.size=8"], 0.6),
        ],
        3,
    ),
    ids=["dcgan", "dcgan_cifar", "sngan", "progan-and-gradient-penalty"],
)
def test_a_step_needs_less_memory(overrides: list[str], fraction: float, tmp_path: Path) -> None:
    peaks = []
    for enabled in ("false", "true"):
        gan, phases, batch = make_gan(tmp_path, *overrides, f"activation_checkpointing={enabled}", size=32)
        iterate(gan, phases, batch)  # creates gradients and the optimizers' state
        with LiveMemory() as memory:
            iterate(gan, phases, batch)
        peaks.append(memory.peak)
    assert peaks[1] < fraction * peaks[0], peaks


def differentiate(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Two forward passes, one differentiated twice, before one backward pass: logits, gradients and buffers."""
    images = images.clone().requires_grad_()
    first, second = network(images).logits, network(images.flip(0) / 2).logits
    (gradient,) = torch.autograd.grad(first.sum(), images, create_graph=True)
    (gradient.square().sum() + second.square().mean()).backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return [first.detach(), second.detach(), *gradients, *(buffer.clone() for buffer in network.buffers())]


NETWORKS = {
    "dcgan": lambda: dcgan.Discriminator(16, 3, width=4, spectral_norm=True),
    "dcgan_cifar": lambda: dcgan_cifar.Discriminator(16, 3, width=4),
    "sngan": lambda: sngan.Discriminator(16, 3, width=4, attention=8),
    "progan": lambda: progan.Discriminator(16, 3, width=4),
    "r3gan": lambda: r3gan.Discriminator(16, 3, width=4),
    "fastgan": lambda: fastgan.Discriminator(16, 3, width=4),
    "stylegan2": lambda: stylegan2.Discriminator(16, 3, width=4),
    "srgan": lambda: srgan.VGGStyleDiscriminator(16, 3, width=4),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("family", NETWORKS)
def test_a_copy_recomputes_what_the_network_stores(family: str, training: bool) -> None:
    torch.manual_seed(0)
    network = NETWORKS[family]()
    source = copy.deepcopy(network)
    enable_activation_checkpointing(source)
    checkpointed = copy.deepcopy(source)
    for parameter in source.parameters():
        parameter.data.fill_(torch.nan)  # a copy that still used these weights would return NaN
    assert list(checkpointed.state_dict()) == list(network.state_dict())
    assert all(block.checkpoint_activations for block in checkpointed.modules() if isinstance(block, CheckpointedBlocks))
    images, results = torch.randn(4, 3, 16, 16), []
    for each in (network, checkpointed):
        torch.manual_seed(1)
        results.append(differentiate(each.train(training), images))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_synchronized_batch_norm_statistics_are_updated_once() -> None:
    network = dcgan.Discriminator(16, 3, width=4)
    networks = [network, copy.deepcopy(network)]
    enable_activation_checkpointing(networks[1])
    for each in networks:
        convert_sync_batch_norm(each, lambda values: 2 * values, 2)  # another process with the same images
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(*(differentiate(each, images) for each in networks), rtol=0, atol=0)


def test_blocks_are_numbered_as_one_sequence_and_store_their_inputs() -> None:
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)]
    blocks = CheckpointedBlocks.from_blocks([layers[:2], layers[2:4], layers[4:]])
    assert list(blocks.state_dict()) == list(ConditionalSequential(*layers).state_dict())
    assert isinstance(blocks[:3], CheckpointedBlocks) and len(blocks[:3]) == 3
    values, stored = torch.randn(6, 3), []
    blocks.checkpoint_activations = True
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: stored.append(tensor.shape) or tensor, lambda tensor: tensor):
        result = blocks(values)
    torch.testing.assert_close(result, ConditionalSequential(*layers)(values), rtol=0, atol=0)
    assert sorted(stored) == [(6, 3), (6, 4), (6, 5)], "the input of each block, and nothing else"


def test_every_family_has_blocks() -> None:
    folders = [CONF_DIR / "model", CONF_DIR / "discriminator"]
    files = [file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.yaml")]
    named = {family for text in files for family in re.findall(r"gan_lab\.models\.(\w+)\.[A-Z]", text)}
    assert named - {"latents", "conditioning"} == set(FAMILIES) == set(NETWORKS) | {"esrgan", "projected"}


def test_a_network_without_blocks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Linear has no blocks to recompute; .* dcgan, dcgan_cifar, sngan, progan"):
        enable_activation_checkpointing(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="would not be rounded by an emulated precision"):
        make_gan(tmp_path, "model=dcgan", "precision=int16", "activation_checkpointing=true")
