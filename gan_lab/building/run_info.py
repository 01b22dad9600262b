"""Describes a run for the first lines of the console and for trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab.building import compute
from gan_lab.building.tasks import Task
from gan_lab.config import Job
from gan_lab.data.loader import BatchLoader
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.precision import Precision
from gan_lab.metrics.full_reference_suite import FullReferenceSuite
from gan_lab.metrics.suite import MetricSuite
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.runtime.environment import count_parameters, describe_device
from gan_lab.tracking import RunInfo
from gan_lab.utils.formatting import format_count, format_duration, hide_passwords

RECIPE_GROUPS = (
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


def describe_run(
    job: Job,
    task: Task,
    gan: GAN,
    loader: BatchLoader,
    suite: MetricSuite | FullReferenceSuite,
    precision: Precision,
    total_images: int,
) -> RunInfo:
    """The description of a run; ``total_images`` is its length."""
    cfg, data, images_per_epoch = job.cfg, loader.data, loader.images_per_epoch
    counts = data.counts().values()
    classes = (
        f", {len(counts)} {'attributes' if data.multi_label else 'classes'} of {min(counts):,} to {max(counts):,}"
        if counts
        else ""
    )
    enlarged = f", {data.enlarged / len(data.pixels):.0%} of them enlarged from fewer pixels" if data.enlarged else ""
    parameters = [f"{name} {count_parameters(getattr(gan, name)):,} parameters" for name in ("generator", "discriminator")]
    place = f", {loader.placement.description}" if loader.placement.description else ""
    length = f"{format_count(total_images / images_per_epoch, 'epoch')}, {total_images / 1000:g} kimg"
    limit = f", at most {format_duration(job.cfg.max_seconds)}" if job.cfg.get("max_seconds") else ""
    return RunInfo(
        directory=job.directory.path,
        name=job.name,
        group=job.group,
        config=hide_passwords(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)),
        total_images=total_images,
        images_per_epoch=images_per_epoch,
        score=suite.score_name,
        rate_keys=job.rate_keys,
        choices=chosen_options(job.choices),
        facts={
            "run": str(job.directory.path),
            "data": f"{cfg.dataset.name}, {len(data):,} images {data.format_size()}{enlarged}{classes}{place}",
            **task.facts(),
            "networks": ", ".join(parameters),
            "recipe": _recipe(chosen_options(job.choices), cfg.n_critic),
            **_growth(cfg, gan),
            **_first_stage(cfg, total_images),
            **_score(suite),
            "compute": compute.describe(cfg, precision, gan.joint_pass),
            "training": f"{length}{limit}, batch {cfg.batch_size}, on {_machine(precision, gan.processes.world_size)}",
        },
    )


def _machine(precision: Precision, processes: int) -> str:
    return describe_device(precision.device) + (f", {processes} processes" if processes > 1 else "")


def chosen_options(choices: Mapping[str, Any]) -> dict[str, str]:
    """The chosen option of each group as text, several joined by ``+``; without groups of which none is chosen."""
    return {
        group: choice if isinstance(choice, str) else "+".join(map(str, choice)) for group, choice in choices.items() if choice
    }


def _recipe(choices: Mapping[str, str], n_critic: int) -> str:
    """The options of :data:`RECIPE_GROUPS` except ``none``, in one line."""
    named = [f"{group} {choices[group]}" for group in RECIPE_GROUPS if choices.get(group, "none") != "none"]
    return ", ".join([*named, *([f"{n_critic} discriminator steps per generator step"] if n_critic > 1 else [])])


def _score(suite: MetricSuite | FullReferenceSuite) -> dict[str, str]:
    """The primary score and how it is measured."""
    if suite.score_name is None:
        return {}
    return {"score": suite.describe()}


def _first_stage(cfg: DictConfig, total_images: int) -> dict[str, str]:
    section = cfg.pretraining
    if not section.terms:
        return {}
    whole = section.kimg * 1000 >= total_images
    then = "no adversarial training" if whole else "then adversarial training"
    return {"stages": f"{section.kimg:g} kimg of {', '.join(section.terms)} alone, {then}"}


def _growth(cfg: DictConfig, gan: GAN) -> dict[str, str]:
    if not isinstance(gan.generator, ProgressiveNetwork):
        return {}
    section = cfg.model.growth
    if section.stable_kimg is None:
        return {"growth": f"{gan.generator.resolutions[-1]} pixels from the start"}
    sizes = ", ".join(map(str, gan.generator.resolutions))
    stable, fade = _numbers(section.stable_kimg), _numbers(section.fade_kimg)
    return {"growth": f"{sizes} pixels; {stable} kimg of each, then {fade} kimg of fade-in of the next"}


def _numbers(value: float | Sequence[float]) -> str:
    return f"{value:g}" if isinstance(value, int | float) else ", ".join(f"{number:g}" for number in value)
