"""What a run is made of, in words: the first lines of the console, and warnings of what goes badly together."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lab.building import compute
from gan_lab.building.tasks import Task
from gan_lab.config import Job
from gan_lab.data.loader import BatchLoader
from gan_lab.losses.adversarial import WassersteinDiscriminatorLoss
from gan_lab.losses.base import LossTerm
from gan_lab.losses.penalties import GradientNormPenalty, R1Penalty, R2Penalty, WeightClipping
from gan_lab.metrics.pair_suite import FullReferenceSuite
from gan_lab.metrics.suite import MetricSuite
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.layers import SpectralNorm
from gan_lab.runtime.environment import count_parameters, describe_device
from gan_lab.tracking import RunInfo
from gan_lab.training.loss_context import GAN
from gan_lab.training.precision import Precision

log = logging.getLogger(__name__)

GAME_GROUPS = (
    "initial_weights",
    "pretraining",
    "loss",
    "penalty",
    "conditioning",
    "augment",
    "optimizer",
    "schedule",
    "precision",
)


def warn(discriminator: nn.Module, terms: Mapping[str, LossTerm]) -> None:
    """Say what is known to go badly: it may be tried all the same."""
    _warn_of_batch_norm(discriminator, terms)
    _warn_of_freedom(discriminator, terms)


def _warn_of_batch_norm(discriminator: nn.Module, terms: Mapping[str, LossTerm]) -> None:
    """Say so where a penalty on each image's gradient meets a network that mixes images."""
    named = [name for name, term in terms.items() if isinstance(term, GradientNormPenalty | R1Penalty | R2Penalty)]
    if named and any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules()):
        log.warning(
            "%s bounds the gradient of each image alone, which batch normalisation in the discriminator mixes with the others' "
            "(Gulrajani et al. 2017, section 4): model.discriminator.norm=layer, instance or none goes better with it",
            " and ".join(named),
        )


def _warn_of_freedom(discriminator: nn.Module, terms: Mapping[str, LossTerm]) -> None:
    """Say so where nothing bounds the slope of a Wasserstein critic."""
    bounded = any(isinstance(term, GradientNormPenalty | R1Penalty | R2Penalty | WeightClipping) for term in terms.values())
    normalised = any(isinstance(module, SpectralNorm) for module in discriminator.modules())
    if any(isinstance(term, WassersteinDiscriminatorLoss) for term in terms.values()) and not (bounded or normalised):
        log.warning(
            "loss=wasserstein measures a distance only with a critic of bounded slope (Arjovsky et al. 2017, eq. 2): add "
            "penalty=gradient_penalty or another"
        )


def describe_run(
    job: Job,
    task: Task,
    game: GAN,
    stream: BatchLoader,
    suite: MetricSuite | FullReferenceSuite,
    precision: Precision,
    total_images: int,
) -> RunInfo:
    cfg, data, images_per_epoch = job.cfg, stream.data, stream.images_per_epoch
    counts = data.counts().values()
    classes = (
        f", {len(counts)} {'attributes' if data.multi_label else 'classes'} of {min(counts):,} to {max(counts):,}"
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
        score=suite.score_name,
        facts={
            "run": str(job.directory.path),
            "data": f"{cfg.dataset.name}, {len(data):,} images {data.format_size()}{classes}",
            **task.facts(),
            "networks": ", ".join(parameters),
            "game": _game(job.choices, cfg.n_critic),
            **_growth(cfg, game),
            **_first_stage(cfg, total_images),
            **_score(suite),
            "arithmetic": compute.describe(cfg, precision, game.joint_pass),
            "training": f"{length}, batch {cfg.batch_size}, on {_machine(precision, game.processes.world_size)}",
        },
    )


def _machine(precision: Precision, processes: int) -> str:
    return describe_device(precision.device) + (f", {processes} processes" if processes > 1 else "")


def _game(choices: Mapping[str, Any], n_critic: int) -> str:
    """What of the rules was chosen, ``none`` left out."""

    def spell(group: str) -> str:
        choice = choices.get(group) or "none"
        return choice if isinstance(choice, str) else "+".join(choice)

    named = [f"{group} {spell(group)}" for group in GAME_GROUPS if spell(group) != "none"]
    return ", ".join([*named, *([f"{n_critic} discriminator steps for one of the generator's"] if n_critic > 1 else [])])


def _score(suite: MetricSuite | FullReferenceSuite) -> dict[str, str]:
    """What the run is judged by, and how it is taken."""
    if suite.score_name is None:
        return {}
    return {"score": suite.describe()}


def _first_stage(cfg: DictConfig, total_images: int) -> dict[str, str]:
    section = cfg.pretraining
    if not section.terms:
        return {}
    whole = section.kimg * 1000 >= total_images
    return {"stages": f"{section.kimg:g} kimg of {', '.join(section.terms)} alone, {'no game' if whole else 'then the game'}"}


def _growth(cfg: DictConfig, game: GAN) -> dict[str, str]:
    if not isinstance(game.generator, ProgressiveNetwork):
        return {}
    sizes = ", ".join(map(str, game.generator.resolutions))
    section = cfg.model.growth
    return {
        "growth": f"{sizes} pixels; {section.stable_kimg:g} kimg of each, then {section.fade_kimg:g} kimg of fading in the next"
    }
