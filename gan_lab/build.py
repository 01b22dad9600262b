"""From a configuration to the objects of an experiment."""

from __future__ import annotations

import math
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lab.config import Job, instantiate
from gan_lab.data.images import ImageSet
from gan_lab.data.sources import Source
from gan_lab.data.stream import Stream
from gan_lab.directory import RunDirectory
from gan_lab.reporting.live import LiveReport
from gan_lab.terms.adversarial import AdversarialTerm
from gan_lab.terms.base import Term
from gan_lab.tracking import RunInfo, Trackers
from gan_lab.tracking.console import Console, progress_of
from gan_lab.tracking.files import Files
from gan_lab.training import checkpoint
from gan_lab.training.accuracy import Accuracy
from gan_lab.training.device import choose_device, seed_everything
from gan_lab.training.events import At, Cadence, Every
from gan_lab.training.phase import Phase
from gan_lab.training.precision import Precision
from gan_lab.training.preview import Preview
from gan_lab.training.round import Game
from gan_lab.training.summary import count_parameters, describe
from gan_lab.training.trainer import Cadences, Trainer

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def build_trainer(job: Job) -> Trainer:
    """Compose the trainer of a job; nothing is written yet.

    Raises:
        ValueError: whatever in the configuration can't be had, with the key that asks for it.
    """
    cfg = job.cfg
    device = choose_device(cfg.device)
    seed_everything(cfg.seed, cfg.deterministic)
    precision = instantiate(cfg.precision, "precision", device=device)
    game = build_game(cfg, device)
    phases = build_phases(cfg, game, precision)
    evaluation = instantiate(cfg.evaluation.suite, "evaluation.suite")
    average = instantiate(cfg.ema, "ema", generator=game.generator)
    schedule = instantiate(cfg.schedule, "schedule")
    stream = build_stream(cfg, device)
    total_images = count_images(cfg, stream)
    latents = game.latents.draw(cfg.sample.count, device, torch.Generator().manual_seed(cfg.seed))
    return Trainer(
        game=game,
        phases=phases,
        stream=stream,
        average=average,
        schedule=schedule,
        evaluation=evaluation,
        preview=Preview(job.directory, latents, cfg.sample.columns, cfg.sample.scale),
        tracker=build_trackers(cfg),
        report=LiveReport(),
        info=describe_run(job, game, stream.data, device, total_images, stream.images_per_epoch),
        directory=job.directory,
        device=device,
        cadences=build_cadences(cfg, stream.images_per_epoch),
        total_images=total_images,
    )


def build_stream(cfg: DictConfig, device: torch.device) -> Stream:
    """The data set, prepared if need be, as a stream of batches."""
    source: Source = instantiate(cfg.dataset, "dataset")
    with progress_of(f"preparing {source.name}", "images") as progress:
        data = source.load(progress)
    return Stream(data, cfg.batch_size, cfg.seed, device, MEMORY_FORMATS[cfg.memory_format], source.last, source.mirror)


def build_game(cfg: DictConfig, device: torch.device) -> Game:
    def network(name: str) -> nn.Module:
        return instantiate(cfg.model[name], f"model.{name}").to(device=device, memory_format=MEMORY_FORMATS[cfg.memory_format])

    return Game(network("generator"), network("discriminator"), instantiate(cfg.model.latents, "model.latents"))


def build_phases(cfg: DictConfig, game: Game, precision: Precision) -> tuple[Phase, Phase]:
    """The discriminator's turn, then the generator's; the generator moves once in ``n_critic`` iterations."""
    terms = {name: build_terms(cfg, name) for name in ("discriminator", "generator")}
    accuracy = Accuracy(terms["discriminator"].values())

    def phase(name: str, idle: str, **more: Any) -> Phase:
        player = getattr(game, name)
        optimizer = instantiate(cfg.optimizer[name], f"optimizer.{name}")(player.parameters())
        return Phase(
            name[0],
            player,
            getattr(game, idle),
            optimizer,
            terms[name],
            precision=precision,
            accumulate=cfg.accumulate,
            gradient_clip=cfg.gradient_clip,
            **more,
        )

    return (
        phase("discriminator", idle="generator", figures=accuracy.of_discriminator),
        phase("generator", idle="discriminator", figures=accuracy.of_generator, every=cfg.n_critic),
    )


def build_terms(cfg: DictConfig, player: str) -> dict[str, Term]:
    """What a player minimises: the loss's terms and the penalty's, by name."""
    terms = {
        name: instantiate(node, f"{group}.{player}.{name}")
        for group in ("loss", "penalty")
        for name, node in (cfg[group].get(player) or {}).items()
    }
    if not any(isinstance(term, AdversarialTerm) for term in terms.values()):
        raise ValueError(f"loss.{player}: no adversarial term among its terms")
    return terms


def build_trackers(cfg: DictConfig) -> Trackers:
    chosen = {name: instantiate(node, f"tracker.{name}") for name, node in cfg.tracker.items()}
    return Trackers({"files": Files(), "console": Console(cfg.console), **chosen}, essential=["files"])


def build_cadences(cfg: DictConfig, images_per_epoch: int) -> Cadences:
    def every(kimg: float | None) -> Cadence:
        return Every(images_per_epoch if kimg is None else kimg * 1000)

    at = cfg.sample.at_epochs
    return Cadences(
        log=every(cfg.log.every_kimg),
        evaluate=every(cfg.evaluation.every_kimg),
        sample=every(cfg.sample.every_kimg) if at is None else At(epoch * images_per_epoch for epoch in at),
        checkpoint=every(cfg.checkpoint.every_kimg),
    )


def count_images(cfg: DictConfig, stream: Stream) -> int:
    """Images of the whole training, a whole number of batches."""
    images = cfg.kimg * 1000 if cfg.kimg is not None else cfg.epochs * stream.images_per_epoch
    return math.ceil(round(images) / stream.batch_size) * stream.batch_size


def describe_run(
    job: Job, game: Game, data: ImageSet, device: torch.device, total_images: int, images_per_epoch: int
) -> RunInfo:
    cfg = job.cfg
    shape = "x".join(map(str, data.shape))
    counts = data.counts().values()
    classes = (
        f", {len(counts)} {'attributes' if data.is_multi_label else 'classes'} of {min(counts):,} to {max(counts):,}"
        if counts
        else ""
    )
    parameters = [f"{name} {count_parameters(getattr(game, name)):,} parameters" for name in ("generator", "discriminator")]
    length = f"{total_images / images_per_epoch:g} epochs, {total_images / 1000:g} kimg"
    return RunInfo(
        directory=job.directory.path,
        name=job.name,
        group=job.group,
        config=OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True),  # type: ignore[arg-type]
        total_images=total_images,
        images_per_epoch=images_per_epoch,
        facts={
            "run": str(job.directory.path),
            "data": f"{cfg.dataset.name}, {len(data):,} images {shape}{classes}",
            "networks": ", ".join(parameters),
            "training": f"{length}, batch {cfg.batch_size}, on {describe(device)}",
        },
    )


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
        trainer.load_state_dict(state)
    except (RuntimeError, KeyError, IndexError) as error:
        raise ValueError(f"resume: {path} does not fit this configuration ({str(error).splitlines()[0]})") from error
    if trainer.images >= trainer.total_images:
        done = trainer.images / trainer.stream.images_per_epoch
        raise ValueError(
            f"resume: {directory.path} has already seen its {done:g} epochs; give more, such as epochs={done * 2:g}"
        )
