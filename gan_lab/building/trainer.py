"""From a configuration to the objects of an experiment."""

from __future__ import annotations

import logging
import math

import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab.building import compute
from gan_lab.building.compute import checkpoint_activations
from gan_lab.building.initial_weights import load_initial_weights
from gan_lab.building.monitoring import build_monitor
from gan_lab.building.networks import build_discriminator, build_generator
from gan_lab.building.pretraining import build_pretraining
from gan_lab.building.run_info import describe_run, warn
from gan_lab.building.tasks import Task, build_task
from gan_lab.config import Job, instantiate
from gan_lab.data.augmentation import Augmentations
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import BatchLoader
from gan_lab.losses.base import LossContext, LossTerm
from gan_lab.losses.content import PairedLoss
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NoLatents, NormalLatents
from gan_lab.models.sync_batch_norm import convert_sync_batch_norm
from gan_lab.reporting.live_pages import LivePage, write_run_page
from gan_lab.runtime.device import choose_device, seed_everything, set_num_threads
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking import Trackers
from gan_lab.tracking.console import Console
from gan_lab.tracking.files import Files
from gan_lab.training.accuracy import Accuracy
from gan_lab.training.callbacks import IntervalTrigger, MilestoneTrigger, Trigger, Triggers
from gan_lab.training.checkpointer import restore
from gan_lab.training.evaluator import TrainingEvaluator
from gan_lab.training.growth import FixedResolution, Growth, ProgressiveGrowing
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.training.loss_context import GAN
from gan_lab.training.phase import MetricHook, Phase
from gan_lab.training.precision import Precision
from gan_lab.training.trainer import Trainer

log = logging.getLogger(__name__)


def build_trainer(job: Job, ranks: SingleProcess | None = None) -> Trainer:
    """Compose the trainer of a job; nothing is written yet.

    What the data alone can tell, such as the number of classes, is entered into ``job.cfg``.

    Args:
        job: what was asked for.
        ranks: the processes it is shared among; None: this one alone.

    Raises:
        ValueError: whatever in the configuration can't be had, with the key that asks for it.
    """
    cfg = job.cfg
    ranks = ranks or SingleProcess()
    device = choose_device(cfg.device)
    set_num_threads(cfg.num_threads)
    seed_everything(cfg.seed, cfg.deterministic)
    precision = instantiate(cfg.precision, "precision", device=device)
    precision.warn_if_slow()
    task = build_task(cfg)
    stream = task.loader(precision, ranks)
    scores, trackers = build_evaluator(cfg, task, ranks), build_trackers(cfg, ranks)
    game = build_gan(cfg, stream.data, precision, ranks, task.latents())
    if not job.resumed:
        load_initial_weights(cfg, game)  # before the average takes its copy
    phases = build_phases(cfg, game, precision)
    sampler = ImageSampler(instantiate(cfg.ema, "ema", generator=game.generator), game, task.image_size, device)
    schedule = instantiate(cfg.schedule, "schedule")
    total_images = count_training_images(cfg, stream)
    return Trainer(
        gan=game,
        phases=phases,
        loader=stream,
        sampler=sampler,
        growth=build_growth(cfg, game, stream, total_images, task.image_size),
        pretraining=build_pretraining(cfg, game, precision, total_images),
        schedule=schedule,
        evaluator=scores,
        monitor=build_monitor(cfg, scores.name, trackers.alarm),
        overfitting=task.overfitting_estimate(game, device),
        sample_grid=task.sample_grid(job, game, device),
        tracker=trackers,
        report=LivePage(write_run_page),
        info=describe_run(job, task, game, stream, scores.suite, precision, total_images),
        directory=job.directory,
        device=device,
        processes=ranks,
        triggers=build_triggers(cfg, stream.images_per_epoch),
        total_images=total_images,
    )


def build_gan(
    cfg: DictConfig, data: ImageDataset, precision: Precision, ranks: SingleProcess, latents: NormalLatents | NoLatents
) -> GAN:
    """The players, and the sources of what they are given. The number of classes is entered into the configuration."""
    if cfg.batch_size % (ranks.world_size * cfg.gradient_accumulation_steps):
        raise ValueError(
            f"batch_size={cfg.batch_size}: must be divisible by the {ranks.world_size} processes, and each one's part by "
            f"gradient_accumulation_steps={cfg.gradient_accumulation_steps}"
        )
    device, labels = precision.device, build_labels(cfg, data)
    players = {"generator": build_generator(cfg), "discriminator": build_discriminator(cfg)}
    if cfg.activation_checkpointing:
        checkpoint_activations(players.values(), precision)
    for network in players.values():
        if cfg.sync_batch_norm and ranks.world_size > 1:
            convert_sync_batch_norm(network, ranks.all_reduce_sum, ranks.world_size)
        network.to(device, precision.param_dtype).to(memory_format=compute.memory_format(cfg, precision))
    return GAN(
        **players,
        latents=latents,
        labels=labels,
        augment=Augmentations({name: instantiate(node, f"augment.{name}") for name, node in cfg.augment.items()}).to(device),
        rng=torch.Generator(device).manual_seed(cfg.seed),
        processes=ranks,
        joint_pass=compute.joint_passes(cfg, players["discriminator"]),
        reuse_fakes=cfg.reuse_fakes and cfg.gradient_accumulation_steps == 1,
        compiled=compute.compiled(cfg, players, precision),
    )


def build_labels(cfg: DictConfig, data: ImageDataset) -> Labels | NoLabels:
    """Where labels come from, if the conditioning wants any."""
    if not cfg.conditioning.labels:
        return NoLabels()
    labels = data.labels_of(slice(None))
    if labels is None or not data.classes:
        raise ValueError(f"conditioning: {cfg.dataset.name} has no classes; conditioning=none needs none")
    if (unlabelled := int((labels < 0).sum())) if labels.dim() == 1 else 0:
        raise ValueError(
            f"conditioning: {unlabelled:,} of {len(data):,} images have no label; dataset.split or .classes leaves them out"
        )
    known = cfg.conditioning.num_classes
    if known is not None and known != len(data.classes):
        raise ValueError(f"conditioning.num_classes={known}: the data set has {len(data.classes)}")
    cfg.conditioning.num_classes = len(data.classes)
    return Labels.from_dataset(data.classes, labels)


def build_phases(cfg: DictConfig, game: GAN, precision: Precision) -> tuple[Phase, Phase]:
    """The discriminator's turn, then the generator's; the generator moves once in ``n_critic`` iterations."""
    terms = {name: build_terms(cfg, name) for name in ("discriminator", "generator")}
    of_pairs = [name for name, term in terms["generator"].items() if isinstance(term, PairedLoss)]
    if of_pairs and isinstance(game.latents, NormalLatents):
        raise ValueError(
            f"loss: {of_pairs[0]} compares each image with the one it should have been, which one out of latents doesn't have; "
            "it goes with degradation=bicubic or another"
        )
    accuracy = Accuracy(terms["discriminator"].values())
    warn(game.discriminator, terms["discriminator"])

    parts: list[Tensor] = []

    def observe_reals(round: LossContext) -> dict[str, Tensor]:
        """Whole batches, however many parts they come in, from the boundary on."""
        parts.append(round.real_logits - accuracy.decision_threshold)
        if len(parts) < cfg.gradient_accumulation_steps:
            return {}
        logits = torch.cat(parts)
        parts.clear()
        return game.augment.observe(game.processes.all_gather(logits) if cfg.augment else logits)

    def phase(name: str, idle: str, observers: list[MetricHook], every: int = 1) -> Phase:
        player = getattr(game, name)
        for term in terms[name].values():
            term.check(player)
        optimizer = instantiate(cfg.optimizer[name], f"optimizer.{name}")(player.parameters())
        return Phase(
            name[0],
            player,
            getattr(game, idle),
            optimizer,
            terms[name],
            observers,
            precision,
            update_interval=every,
            num_micro_batches=cfg.gradient_accumulation_steps,
            max_grad_norm=cfg.max_grad_norm,
        )

    return (
        phase("discriminator", "generator", [accuracy.discriminator_metrics, observe_reals]),
        phase("generator", "discriminator", [accuracy.generator_metrics], every=cfg.n_critic),
    )


def build_terms(cfg: DictConfig, player: str) -> dict[str, LossTerm]:
    """What a player minimises: the terms of the loss, of the penalty and of the conditioning, by name."""
    sections = {"loss": cfg.loss, "penalty": cfg.penalty, "conditioning.terms": cfg.conditioning.get("terms", {})}
    terms = {
        name: instantiate(node, f"{group}.{player}.{name}")
        for group, section in sections.items()
        for name, node in (section.get(player) or {}).items()
    }
    if all(term.interval > 1 for term in terms.values()):
        raise ValueError(
            f"loss.{player}: nothing to minimise in every step; feature_matching goes beside a loss, loss=[bce,...]"
        )
    return terms


def build_growth(cfg: DictConfig, game: GAN, stream: BatchLoader, total_images: int, size: int) -> Growth:
    """How the networks grow, if they do. A schedule in shares of the training is entered into the configuration in images."""
    if "growth" not in cfg.model:
        return FixedResolution(size, cfg.batch_size)
    section = cfg.model.growth
    if not isinstance(game.generator, ProgressiveNetwork):
        raise ValueError("model.growth: this family does not grow; model=progan does")
    growth: ProgressiveGrowing = instantiate(
        section,
        "model.growth",
        sizes=game.generator.resolutions,
        batch_size=cfg.batch_size,
        total_images=total_images,
        max_batch_size=min(section.max_batch_size, stream.images_per_epoch),
    )
    section.fade_kimg, section.stable_kimg = growth.fade_kimg, growth.stable_kimg  # a resume for more epochs keeps to them
    return growth


def build_evaluator(cfg: DictConfig, task: Task, ranks: SingleProcess) -> TrainingEvaluator:
    """What is measured of the run's sampling generator."""
    return TrainingEvaluator(task.training_suite(), cfg.evaluation.max_time_fraction, ranks)


def primary_score_name(cfg: DictConfig) -> str | None:
    """Name of the score that runs of this configuration will be judged by; None without one."""
    return build_task(cfg.copy()).training_suite().score_name


def build_trackers(cfg: DictConfig, ranks: SingleProcess) -> Trackers:
    """The leader's; other processes tell nobody."""
    if not ranks.is_main_process:
        return Trackers({})
    chosen = {name: instantiate(node, f"tracker.{name}") for name, node in cfg.tracker.items()}
    return Trackers({"files": Files(), "console": Console(cfg.console), **chosen}, essential=["files"])


def build_triggers(cfg: DictConfig, images_per_epoch: int) -> Triggers:
    def every(kimg: float | None) -> Trigger:
        return IntervalTrigger(images_per_epoch if kimg is None else kimg * 1000)

    at = cfg.sample.at_epochs
    return Triggers(
        log=every(cfg.log.every_kimg),
        evaluate=every(cfg.evaluation.every_kimg),
        sample=every(cfg.sample.every_kimg) if at is None else MilestoneTrigger(epoch * images_per_epoch for epoch in at),
        checkpoint=every(cfg.checkpoint.every_kimg),
    )


def count_training_images(cfg: DictConfig, stream: BatchLoader) -> int:
    """Images of the whole training, a whole number of batches."""
    images = cfg.kimg * 1000 if cfg.kimg is not None else cfg.epochs * stream.images_per_epoch
    if cfg.max_kimg is not None:
        images = min(images, cfg.max_kimg * 1000)
    return math.ceil(round(images) / stream.batch_size) * stream.batch_size


def resume(trainer: Trainer, directory: RunDirectory, which: str) -> None:
    """Load a run's checkpoint into its freshly built trainer.

    Raises:
        ValueError: it is missing or damaged, does not fit the networks, or the run is already at its end.
    """
    path = directory.checkpoint(which)
    try:
        state = checkpoint.load(path)
    except ValueError as error:
        other = directory.checkpoint("best" if which == "last" else "last")
        hint = f"; resume_from={other.stem} goes on from {other}" if other.is_file() else ""
        raise ValueError(f"resume: {error}{hint}") from error
    try:
        restore(trainer, state)
    except (RuntimeError, KeyError, IndexError) as error:
        raise ValueError(f"resume: {path} does not fit this configuration ({str(error).splitlines()[0]})") from error
    if trainer.images >= trainer.total_images:
        done = trainer.images / trainer.loader.images_per_epoch
        raise ValueError(
            f"resume: {directory.path} has already seen its {done:g} epochs; give more, such as epochs={done * 2:g}"
        )
