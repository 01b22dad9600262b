"""Builds the GAN of a configuration: two networks, the sources of latents and labels, and augmentation."""

from __future__ import annotations

import logging

import torch
from omegaconf import DictConfig

from gan_lab.building import compute
from gan_lab.building.networks import build_discriminator, build_generator
from gan_lab.config import instantiate
from gan_lab.data.augmentation import Augmentations
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.precision import Precision
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.models.sync_batch_norm import convert_sync_batch_norm
from gan_lab.runtime.distributed import SingleProcess

log = logging.getLogger(__name__)


def build_gan(
    cfg: DictConfig, data: ImageDataset, precision: Precision, processes: SingleProcess, latents: NormalLatents | NoLatents
) -> GAN:
    """The GAN of a configuration, on its device. Writes the dataset's number of classes into ``cfg``.

    Raises:
        ValueError: the batch can't be split as configured, or a network can't be built.
    """
    if cfg.batch_size % (processes.world_size * cfg.gradient_accumulation_steps):
        raise ValueError(
            f"batch_size={cfg.batch_size}: must be divisible by {processes.world_size} (processes) times "
            f"{cfg.gradient_accumulation_steps} (gradient_accumulation_steps)"
        )
    if cfg.reuse_fakes and not cfg.reuse_reals:
        raise ValueError(
            "reuse_reals=false: the generator's step has other reals, and so other fakes, than the discriminator's; set "
            "reuse_fakes=false, or reuse_reals=true"
        )
    device, labels = precision.device, build_labels(cfg, data)
    networks = {"generator": build_generator(cfg), "discriminator": build_discriminator(cfg)}
    if cfg.activation_checkpointing:
        compute.checkpoint_activations(networks.values(), precision)
    for network in networks.values():
        if cfg.sync_batch_norm and processes.world_size > 1:
            convert_sync_batch_norm(network, processes.all_reduce_sum, processes.world_size)
        network.to(device, precision.param_dtype).to(memory_format=compute.memory_format(cfg, precision))
    return GAN(
        **networks,
        latents=latents,
        labels=labels,
        augment=Augmentations({name: instantiate(node, f"augment.{name}") for name, node in cfg.augment.items()}).to(device),
        rng=torch.Generator(device).manual_seed(cfg.seed),
        processes=processes,
        joint_pass=compute.joint_pass(cfg, networks["discriminator"]),
        reuse_fakes=cfg.reuse_fakes and cfg.gradient_accumulation_steps == 1,
        reuse_reals=cfg.reuse_reals,
        compiled=compute.compiled(cfg, networks, precision),
    )


def build_labels(cfg: DictConfig, data: ImageDataset) -> Labels | NoLabels:
    """The labels of generated images, if the conditioning uses any.

    Raises:
        ValueError: the dataset has no classes, images without a label, or another number of classes than configured.
    """
    if not cfg.conditioning.labels:
        return NoLabels()
    labels = data.labels_of(slice(None))
    if labels is None or not data.classes:
        raise ValueError(f"conditioning: {cfg.dataset.name} has no classes; choose conditioning=none")
    if (unlabeled := int((labels < 0).sum())) if labels.dim() == 1 else 0:
        raise ValueError(
            f"conditioning: {unlabeled:,} of {len(data):,} images have no label; exclude them with dataset.split or "
            "dataset.classes"
        )
    known = cfg.conditioning.num_classes
    if known is not None and known != len(data.classes):
        raise ValueError(f"conditioning.num_classes={known}: the dataset has {len(data.classes)}")
    cfg.conditioning.num_classes = len(data.classes)
    built = Labels.from_dataset(data.classes, labels)
    if without := [name for name in data.classes if name not in built.available_classes()]:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        log.warning("no image is of class %s%s, which will be neither trained nor drawn", ", ".join(without[:5]), more)
    return built
