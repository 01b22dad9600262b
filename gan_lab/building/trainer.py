"""Builds the trainer of a job, and resumes it from a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gan_lab.building.gan import build_gan
from gan_lab.building.initial_weights import load_initial_weights
from gan_lab.building.monitoring import build_monitor, build_roll_backs, max_skipped_steps
from gan_lab.building.precision import build_precision
from gan_lab.building.resumed_data import match_data, renumbered
from gan_lab.building.run_info import describe_run
from gan_lab.building.schedule import build_progress, build_time_limits, build_triggers
from gan_lab.building.tasks import Task, build_task
from gan_lab.building.trackers import build_trackers
from gan_lab.building.updater import build_updater
from gan_lab.config import Job, changes_from_default, odd_values
from gan_lab.data.packed_file import PackedDataset, mapped_file
from gan_lab.iteration.precision import Precision
from gan_lab.reporting.live_pages import LivePage, write_run_page
from gan_lab.runtime.device import choose_device, seed_everything, set_num_threads
from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.runtime.timer import reset_peak_memory
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import COMPLETED, RunDirectory
from gan_lab.training.checkpointer import Checkpointer, Stateful
from gan_lab.training.evaluator import TrainingEvaluator
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.training.metric_recorder import MetricRecorder
from gan_lab.training.run_recorder import RunRecorder
from gan_lab.training.schedule_jump import describe_jumps
from gan_lab.training.scheduled_evaluation import ScheduledEvaluation
from gan_lab.training.trainer import Trainer

log = logging.getLogger(__name__)


def build_trainer(job: Job, processes: SingleProcess = SINGLE_PROCESS, state: Mapping[str, Any] | None = None) -> Trainer:
    """Build the trainer of a job; no file is written yet.

    Values that depend on the data, such as the number of classes, are filled in in ``job.cfg``.

    Args:
        job: the configuration and directory of a run.
        processes: the processes that share each batch.
        state: the checkpoint from which the run will be resumed; the data must be those that it was trained on.

    Raises:
        ValueError: a value of the configuration is invalid, or the data have changed; the message names the key.
    """
    cfg = job.cfg
    device = choose_device(cfg.device)
    set_num_threads(cfg.num_threads)
    precision = build_precision(job, device)
    seed_everything(cfg.seed, cfg.deterministic)
    for sentence in odd_values(cfg):
        log.warning("%s", sentence)
    task = build_task(cfg)
    if state is not None and processes.is_main_process and (file := mapped_file(task.data.pixels)) is not None:
        log.info("comparing %s with its checksum", file)  # smaller ones, in memory, are compared whenever they are read
        PackedDataset.open(file).check_content()
    if state is None or (order := match_data(cfg, task.data, state)) is None:
        return _build(job, task, precision, processes)
    with renumbered(cfg, order):
        return _build(job, build_task(cfg), precision, processes)


def _build(job: Job, task: Task, precision: Precision, processes: SingleProcess) -> Trainer:
    cfg, device = job.cfg, precision.device
    loader = task.loader(precision, processes)
    evaluator = TrainingEvaluator(task.training_suite(), processes, cfg.evaluation.get("target"))
    if evaluator.target is not None and evaluator.name is None:
        raise ValueError(f"evaluation.target={evaluator.target}: this run measures no score")
    tracker = build_trackers(cfg, processes)

    gan = build_gan(cfg, loader.data, precision, processes, task.latents())
    if not job.resumed:
        load_initial_weights(cfg, gan, job.choices)  # before the EMA copies the weights
    progress = build_progress(cfg, loader, device)
    updater = build_updater(cfg, gan, precision, progress, task.image_size)
    sampler = ImageSampler(updater.ema, gan, task.image_size, device)

    monitor = build_monitor(cfg, evaluator.name, tracker.alarm)
    overfitting = task.overfitting_estimate(gan, device)
    grid = task.sample_grid(job, gan, device)
    metrics = MetricRecorder(updater, progress, monitor, tracker, device, max_skipped_steps(cfg))
    parts: dict[str, Stateful] = {"sample_grid": grid, "evaluator": evaluator, "monitor": monitor}
    parts |= {"averager": updater.averager, "tracker": tracker}
    checkpointer = Checkpointer(job.directory, progress, updater, parts, loader.data, device, cfg.checkpoint.keep)
    show_progress = partial(tracker.activity, "score")
    evaluation = ScheduledEvaluation(evaluator, overfitting, sampler, updater, progress, metrics, checkpointer, show_progress)
    info = describe_run(job, task, gan, loader, evaluator.suite, precision, progress.total_images)
    page = LivePage(partial(write_run_page, find_changes=changes_from_default))
    is_main = processes.is_main_process
    records = RunRecorder(job.directory, info, tracker, page, sampler, grid, progress, evaluator, monitor, is_main)
    reset_peak_memory(device)
    return Trainer(
        updater=updater,
        loader=loader,
        progress=progress,
        evaluator=evaluator,
        monitor=monitor,
        roll_backs=build_roll_backs(cfg),
        evaluation=evaluation,
        metrics=metrics,
        checkpointer=checkpointer,
        records=records,
        triggers=build_triggers(cfg, progress.images_per_epoch),
        time_limits=build_time_limits(cfg),
        processes=processes,
        device=device,
    )


def read_checkpoint(directory: RunDirectory, name: str) -> dict[str, Any]:
    """The checkpoint called ``name``, for a resume; in place of a damaged or missing ``last`` the newest one before it.

    A damaged ``last.pt`` is renamed to ``damaged.pt``, so that it does not take the place of a good one.

    Raises:
        ValueError: the checkpoint is missing or damaged, and so are those before it.
    """
    try:
        return checkpoint.load_of_run(directory, name)
    except ValueError as error:
        if not directory.has_begun():
            raise ValueError(
                f"resume: {directory.path} ended before its first checkpoint; start it again with the same command and "
                f"hydra.run.dir={directory.path}"
            ) from error
        names = directory.existing_checkpoints()
        earlier = [other for other in names if other.startswith("last-")] + [other for other in names if other == "best"]
        choice = next((other for other in names if other != name and checkpoint.is_readable(directory, other)), None)
        advice = "no other one can be read; restore one from a copy" if choice is None else f"resume_from={choice} chooses it"
        if name != "last" or directory.weights.is_file():
            raise ValueError(f"resume: {error}; {advice}") from error
        for other in earlier:
            try:
                state = checkpoint.load(directory.checkpoint(other))
            except ValueError:
                continue
            path = directory.checkpoint("last")
            if path.is_file():
                path.replace(directory.checkpoint("damaged"))
            log.warning("resume: %s; the run goes on from %s.pt, at %s images", error, other, f"{state['images']:,}")
            return state
        raise ValueError(f"resume: {error}; {advice}") from error


def resume(trainer: Trainer, path: Path, state: Mapping[str, Any], is_last: bool = True) -> None:
    """Load a checkpoint into a newly built trainer.

    Args:
        trainer: built with the same ``state``.
        path: of the run, for messages.
        state: what :func:`read_checkpoint` returned.
        is_last: whether it is the one in ``last.pt``.

    Raises:
        ValueError: the checkpoint does not fit the configuration, or the run is already finished.
    """
    try:
        trainer.checkpointer.restore(state, is_last)
    except (RuntimeError, KeyError, IndexError) as error:
        raise ValueError(
            f"resume: the checkpoint of {path} does not fit this configuration ({str(error).splitlines()[0]})"
        ) from error
    if trainer.progress.finished and trainer.records.directory.read_summary().get("status") in COMPLETED:
        done = trainer.progress.epoch
        raise ValueError(f"resume: {path} has already trained {done:g} epochs; set more, such as epochs={done * 2:g}")
    if trainer.evaluator.has_reached_target:
        raise ValueError(f"resume: {path} has already reached evaluation.target={trainer.evaluator.target:g}; set a lower one")
    progress = trainer.progress
    if progress.time_is_up:
        done = progress.timer.seconds
        raise ValueError(f"resume: {path} has already trained {done:.3g} seconds; set more, such as max_seconds={2 * done:.3g}")
    now = {"total_images": progress.total_images, **trainer.updater.schedule_at(progress)}
    before = state.get("schedule", now)
    if jumps := describe_jumps(before, now, progress.images_per_epoch, trainer.records.info.rate_keys):
        log.warning(jumps)
