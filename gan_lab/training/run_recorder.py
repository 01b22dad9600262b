"""Writes the records of a run: sample grids, summary, page, start and end of the trackers, and the last log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gan_lab.data.loader import BatchLoader
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.runtime.environment import count_parameters, environment, training_progress
from gan_lab.runtime.timer import peak_memory
from gan_lab.storage.run_directory import COMPLETED, PRUNED, RunDirectory
from gan_lab.tracking.base import RunInfo, Tracker
from gan_lab.tracking.files import write_summary
from gan_lab.training.evaluator import TrainingEvaluator
from gan_lab.training.explorer import write_explorer
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.training.monitor import Alarm, TrainingMonitor
from gan_lab.training.sample_grid import SampleGrid
from gan_lab.utils.formatting import first_line, format_duration
from gan_lab.utils.shell import format_command

log = logging.getLogger(__name__)

SECONDS_OF_EXPLORER, MAX_TIME_FRACTION = 2.0, 0.02
"""Upper bound of the time for the explorer's images, apart from its smallest size: seconds, or if it is more, a fraction of the
training time."""


class RunRecorder:
    """Writes the records of a run. Methods that write do nothing outside the main process.

    Args:
        directory: the run directory.
        info: the description of the run for trackers.
        tracker: all trackers of the run.
        write_page: writes the run's page and returns whether it did; called with the directory, at the end with ``final=True``.
        sampler: generates the images of sample grids.
        grid: draws sample grids.
        progress, evaluator, monitor: provide the content of the summary.
        is_main_process: whether this process writes.
    """

    def __init__(
        self,
        directory: RunDirectory,
        info: RunInfo,
        tracker: Tracker,
        write_page: Callable[..., bool],
        sampler: ImageSampler,
        grid: SampleGrid,
        progress: TrainingProgress,
        evaluator: TrainingEvaluator,
        monitor: TrainingMonitor,
        is_main_process: bool,
    ) -> None:
        self.directory, self.info, self.tracker, self.write_page = directory, info, tracker, write_page
        self.sampler, self.grid = sampler, grid
        self._progress, self._evaluator, self._monitor = progress, evaluator, monitor
        self._is_main_process = is_main_process

    def start(self) -> None:
        self.tracker.start(replace(self.info, first_image=self._progress.images))

    def summary(self, status: str) -> dict[str, Any]:
        """``summary.json``: status, scores, alarms, speed, parameters, memory, versions."""
        progress, gan = self._progress, self.sampler.gan
        return {
            "status": status,
            "name": self.info.name,
            **training_progress(progress.images, progress.images_per_epoch, progress.timer.seconds),
            "other_seconds": dict(progress.timer.other_seconds),
            "score": self._evaluator.name,
            "final": self._evaluator.latest,
            "best": self._evaluator.best,
            "alarms": self._monitor.summary(),
            "parameters": {name: count_parameters(getattr(gan, name)) for name in ("generator", "discriminator")},
            "peak_memory_mib": peak_memory(self.sampler.device),
            **environment(self.sampler.device),
        }

    def write_summary(self, status: str) -> None:
        if self._is_main_process:
            write_summary(self.directory, self.summary(status))

    def write_samples(self) -> None:
        """Write a grid of the averaged generator's images from the fixed latents."""
        if self._is_main_process:
            images = self.sampler.generate(self.grid.latents, self.grid.labels)
            path = self.grid.save_samples(images, self._progress.images)
            self.tracker.image_grid("samples", path, self._progress.images)

    def write_reals(self, loader: BatchLoader) -> None:
        """Write a grid of real images."""
        if self._is_main_process:
            self.tracker.image_grid("reals", self.grid.save_reals(loader), 0)

    def update_page(self) -> None:
        """Write the page, unless the training is over: then :meth:`finish` does."""
        if self._is_main_process and not self._progress.finished:
            self.write_page(self.directory)

    def discard_later_samples(self) -> None:
        """Remove sample grids from after the current number of images; a resumed run writes them again."""
        if self._is_main_process:
            self.grid.discard_after(self._progress.images)

    def keep_outdated_best(self) -> None:
        """Rename the best checkpoint if its score is no longer comparable; nothing is deleted."""
        best = self.directory.checkpoint("best")
        if self._is_main_process and self._evaluator.outdated is not None and best.exists():
            best.replace(self.directory.checkpoint(f"best-{self._evaluator.outdated}"))

    def roll_back(self, name: str, lr_factor: float) -> None:
        """Adapt the records to a run that went back to the checkpoint ``name``, with ``lr_factor`` times its rates."""
        self.discard_later_samples()
        if self._is_main_process:
            self.tracker.roll_back(self._progress.images)
        self.write_samples()
        rates = "" if lr_factor == 1.0 else f"; learning rates are now {lr_factor:g} times the configured ones"
        log.info("went back to %s.pt, at %s images%s", name, f"{self._progress.images:,}", rates)

    def explain(self, error: OSError) -> str:
        """The message of a training that a file has ended, and how to go on."""
        path = self.directory.path
        text = f"{error.filename}: {error.strerror}. When that is mended,"
        if self.directory.checkpoint("last").is_file():
            return f"{text} {format_command('train', f'resume={path}')} goes on from the last checkpoint"
        return f"{text} start again with the same command and hydra.run.dir={path}; there was no checkpoint yet"

    def finish(self, status: str, advise: bool = True) -> None:
        """Write the explorer, the summary and the page, and log where the results are or, with ``advise``, how to resume.

        Raises:
            OSError: the summary can't be written.
        """
        if not self._is_main_process:
            return
        if status in COMPLETED:
            self._write_explorer()  # before the summary: a run that is killed meanwhile is not finished and can be resumed
        self.tracker.finish(self.summary(status))
        has_page = self.write_page(self.directory, final=True)
        images, seconds = self._progress.images, self._progress.timer.seconds
        log.info("%s at %s images after %s of training", status, f"{images:,}", format_duration(seconds))
        if score := self._evaluator.format_summary():
            log.info("score: %s", score)
        if advise:
            log_resume_hint(self.directory, status, self._monitor.ended_by, has_page, self.info.rate_keys)

    def _write_explorer(self) -> None:
        sampler, gan, seconds = self.sampler, self.sampler.gan, self._progress.timer.seconds
        longest = max(SECONDS_OF_EXPLORER, MAX_TIME_FRACTION * seconds)
        try:
            with sampler.ema.eval_mode() as generator:
                write_explorer(
                    self.directory, generator, gan.latents, gan.labels, sampler.device, self._progress.images, longest
                )
        except Exception as error:  # what a page shows can't be a reason to lose the end of a training
            log.warning("the explorer can't be written: %s", first_line(error))


def log_resume_hint(
    directory: RunDirectory, status: str, ended_by: Alarm | None, has_page: bool, rate_keys: Sequence[str]
) -> None:
    """Log the alarm that ended the run, where its results are, and the command that resumes it.

    Args:
        directory: of the run.
        status: of the summary.
        ended_by: the alarm, or None.
        has_page: whether the page was written.
        rate_keys: the keys of the learning rates, which a run that diverged needs to be lower.
    """
    if ended_by is not None and status in COMPLETED:
        log.info("the alarm was %s at %s images: %s", ended_by.alarm, f"{ended_by.images:,}", ended_by.text)
    if status in COMPLETED:
        log.info("results: %s", " and ".join(map(str, [directory.final, *([directory.report] if has_page else [])])))
    if status != "finished" and directory.checkpoint("last").exists():
        # without these it would end in the same way
        resume_with = {"diverged": [f"{key}=..." for key in rate_keys], "early_stopped": ["health.stop_at=[]"]}
        more = [] if ended_by is not None and ended_by.alarm == PRUNED else resume_with.get(status, [])
        log.info("resume from the last checkpoint: %s", format_command("train", f"resume={directory.path}", *more))
