"""Builds the precision of a run; ``precision=auto`` is decided by timing iterations of the configured networks."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gan_lab.building.gan import build_gan
from gan_lab.building.schedule import build_progress
from gan_lab.building.tasks import build_task
from gan_lab.building.updater import build_updater
from gan_lab.config import CONF_DIR, Job, instantiate
from gan_lab.iteration.precision import Precision
from gan_lab.iteration.runner import WARMUP
from gan_lab.runtime.device import seed_everything
from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.utils.formatting import format_number

log = logging.getLogger(__name__)

BASELINE = "fp32"
TRIAL_ITERATIONS = 20

_CHOSEN: dict[str, str] = {}
"""Earlier choices in this process by configuration, so that runs of a multirun that differ only in the seed agree."""


def build_precision(job: Job, device: torch.device) -> Precision:
    """The configured precision on ``device``.

    Raises:
        ValueError: the device does not support the precision, or a value of ``precision=auto`` is out of range.
    """
    resolve_precision(job, device, SINGLE_PROCESS)
    precision: Precision = instantiate(job.cfg.precision, "precision", device=device)
    precision.warn_if_slow(captured=job.cfg.capture == "auto" and device.type == "cuda")
    return precision


def resolve_precision(job: Job, device: torch.device, processes: SingleProcess) -> None:
    """Replace ``precision=auto`` in the job by the chosen option; called by all processes.

    Raises:
        ValueError: a value is out of range.
    """
    section = job.cfg.precision
    if "candidates" not in section:
        return
    if not isinstance(section.min_speedup, int | float) or section.min_speedup < 1:
        raise ValueError(f"precision.min_speedup={section.min_speedup}: must be a ratio of times, at least 1")
    known = sorted({path.stem for path in (CONF_DIR / "precision").glob("*.yaml")} - {"auto"})
    if unknown := [name for name in section.candidates if name not in known]:
        raise ValueError(f"precision.candidates: {unknown[0]} is not an option of precision; choose from {', '.join(known)}")
    name = BASELINE
    if device.type == "cuda":
        name = processes.on_main_process(lambda: _choose(job, device, processes.world_size))
    job.cfg.precision = _option(name)
    job.choices["precision"] = name


def _choose(job: Job, device: torch.device, world_size: int) -> str:
    """The name of the fastest option."""
    section = job.cfg.precision
    key = OmegaConf.to_yaml({key: value for key, value in job.cfg.items() if key not in ("seed", "seeds", "study")})
    if key not in _CHOSEN:
        names = dict.fromkeys((BASELINE, *section.candidates))
        seconds = {name: _seconds_per_iteration(job, name, device, world_size) for name in names}
        _CHOSEN[key] = choose_fastest(seconds, section.min_speedup)
        tried = ", ".join(f"{name} {format_number(1000 * s)} ms" for name, s in seconds.items() if s is not None)
        log.info("precision=auto: %s, from a trial of an iteration's time: %s", _CHOSEN[key], tried or "none could run")
    return _CHOSEN[key]


def choose_fastest(seconds: Mapping[str, float | None], min_speedup: float) -> str:
    """The fastest name if it is at least ``min_speedup`` times as fast as the baseline, else the baseline; None: failed."""
    possible = {name: value for name, value in seconds.items() if value is not None}
    if not possible:
        return BASELINE
    fastest = min(possible, key=lambda name: possible[name])
    baseline = possible.get(BASELINE)
    return fastest if baseline is None or baseline / possible[fastest] >= min_speedup else BASELINE


def _seconds_per_iteration(job: Job, name: str, device: torch.device, world_size: int) -> float | None:
    """Seconds per iteration of the fully grown networks, captured if training will be; None if it fails."""
    cfg = job.cfg.copy()  # building writes into it
    cfg.precision = _option(name)
    cfg.batch_size //= world_size
    if world_size > 1:
        cfg.capture = "none"  # as in the training
    seed_everything(cfg.seed, cfg.deterministic)
    try:
        precision: Precision = instantiate(cfg.precision, "precision", device=device)
        return _time_iterations(replace(job, cfg=cfg), precision)
    except (ValueError, RuntimeError) as error:  # a GPU without TF32, too little memory, an operation that has no such format
        log.debug("precision=auto: %s can't run here (%s)", name, error)
        return None
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _time_iterations(job: Job, precision: Precision) -> float:
    cfg, processes = job.cfg, SINGLE_PROCESS
    task = build_task(cfg)
    loader = task.loader(precision, processes)
    gan = build_gan(cfg, loader.data, precision, processes, task.latents())
    progress = build_progress(cfg, loader, precision.device)
    updater = build_updater(cfg, gan, precision, progress, task.image_size)
    progress.images = progress.total_images  # fully grown, and after any pretraining
    batch = next(loader.batches(progress.images, lambda images: updater.growth.state_at(images).batch_size))

    def run(iterations: int) -> float:
        begun = time.perf_counter()
        for _ in range(iterations):
            updater.update(batch, progress)
        if precision.device.type == "cuda":
            torch.cuda.synchronize(precision.device)
        return (time.perf_counter() - begun) / iterations

    run((WARMUP + 1) * cfg.n_critic)
    return min(run(TRIAL_ITERATIONS) for _ in range(3))


def _option(name: str) -> DictConfig:
    section: Any = OmegaConf.load(CONF_DIR / "precision" / f"{name}.yaml")
    return section
