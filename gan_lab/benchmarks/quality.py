"""Training time until a run's score equals that of the tutorial's recipe."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gan_lab.benchmarks.timing import print_notes, synchronizer
from gan_lab.benchmarks.tutorial import start_tutorial, tutorial_obstacle
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.iteration.ema import NoEMA
from gan_lab.metrics.suite import flatten_scores
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.training.trainer import Trainer
from gan_lab.utils.formatting import format_count, format_number
from gan_lab.utils.terminal import print_table

CONFIGURED, TUTORIAL = "as configured", "tutorial"

Curve = list[tuple[float, float]]
"""Pairs of training time in seconds and the score after it."""


@dataclass
class QualityResult:
    """Scores of both runs over time.

    Attributes:
        score: name of the score; lower is better.
        curves: of :data:`CONFIGURED` and :data:`TUTORIAL`.
        epochs: of the tutorial.
        folder: folder for the plots.
    """

    score: str
    curves: dict[str, Curve]
    epochs: int
    folder: Path

    def seconds_to_reach(self) -> float | None:
        """Training time until the configured run's score is at most the tutorial's final score; None if it never is."""
        target = self.curves[TUTORIAL][-1][1]
        return next((seconds for seconds, value in self.curves[CONFIGURED] if value <= target), None)

    def conclusion(self) -> str:
        seconds, target = self.curves[TUTORIAL][-1]
        after = f"{format_count(self.epochs, 'epoch')} ({seconds:.0f} s)"
        tutorial = f"the tutorial's recipe ends at {self.score} {format_number(target)} after {after}"
        end, final = self.curves[CONFIGURED][-1]
        if (reached := self.seconds_to_reach()) is None:
            best = min(value for _, value in self.curves[CONFIGURED])
            return f"{tutorial}; this run does not reach that in {end:.0f} s: its best is {format_number(best)}"
        configured = f"this run reaches that after {reached:.0f} s, 1/{seconds / reached:.1f} of the time"
        return f"{tutorial}; {configured}, and ends at {format_number(final)} after {end:.0f} s"

    def print(self) -> None:
        from gan_lab.reporting.plots import png, score_vs_time_plot, svg  # imports matplotlib

        rows = [
            [name, f"{seconds:.1f}", format_number(value)] for name, curve in self.curves.items() for seconds, value in curve
        ]
        print_table(["run", "seconds", self.score], rows, [self.conclusion()])
        figure = score_vs_time_plot(self.curves, self.score)
        (self.folder / "quality.svg").write_text(svg(figure))
        (self.folder / "quality.png").write_bytes(png(figure))
        print_notes(f"{self.folder}/quality.png, quality.svg")

    def to_dict(self) -> dict[str, Any]:
        return {
            "score": self.score,
            "curves": self.curves,
            "tutorial_epochs": self.epochs,
            "seconds_to_reach": self.seconds_to_reach(),
        }


class QualityBenchmark:
    """Trains the same networks on the same data as configured and with the tutorial's recipe, alternating between the two.

    Only the time of training is counted, not that of the evaluations in between.

    Args:
        epochs: number of epochs of the tutorial.
        batch_size: of the tutorial; 64 in pytorch/examples.
        slices: evaluations per epoch.

    Raises:
        ValueError: one of them is less than 1.
    """

    def __init__(self, epochs: int, batch_size: int, slices: int) -> None:
        if min(epochs, batch_size, slices) < 1:
            raise ValueError(f"benchmark: {epochs=}, {batch_size=} and {slices=} must be at least 1")
        self._epochs, self._batch_size, self._slices = epochs, batch_size, slices

    def __call__(self, job: Job) -> QualityResult:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            trainer = build_trainer(replace(job, directory=RunDirectory(folder)))
            if trainer.evaluator.name is None:
                raise ValueError("benchmark=quality needs a metric: use evaluation=fast")
            if obstacle := tutorial_obstacle(job.cfg, trainer.updater.gan):
                raise ValueError(f"benchmark=quality: {obstacle}")
            trainer.callbacks = trainer.callbacks.subset(["logging"], end=trainer.progress.total_images)
            trainer.evaluator.prepare(trainer.device, lambda done, total: None)
            trainer.records.tracker.start(trainer.records.info)
            with start_tutorial(job.cfg, trainer, self._batch_size, folder) as tutorial:
                generator = copy.deepcopy(trainer.updater.gan.generator)
                sampler = ImageSampler(NoEMA(generator), trainer.updater.gan, job.cfg.dataset.size, trainer.device)
                steps = -(-len(trainer.loader.data) // self._batch_size)  # its loader keeps the last, smaller batch

                def train_tutorial(n: int) -> float | None:
                    return tutorial.steps(_slice_steps(steps, n, self._slices)) if n < self._epochs * self._slices else None

                def score_tutorial() -> float:
                    generator.load_state_dict(tutorial.generator())
                    return primary_score(trainer, sampler)

                curves = train_alternately(
                    {
                        CONFIGURED: (
                            slice_trainer(trainer, self._slices),
                            lambda: primary_score(trainer, trainer.records.sampler),
                        ),
                        TUTORIAL: (train_tutorial, score_tutorial),
                    }
                )
            trainer.records.tracker.finish(trainer.records.summary("finished"))
        return QualityResult(trainer.evaluator.name, curves, self._epochs, job.directory.path)


TrainSlice = Callable[[int], float | None]
"""Trains the n-th slice; returns the seconds it took, or None if training has ended."""


def train_alternately(runs: dict[str, tuple[TrainSlice, Callable[[], float]]]) -> dict[str, Curve]:
    """Train several runs, one slice of each at a time, until all have ended.

    Args:
        runs: for each run, a function that trains a slice, and one that returns its score.

    Returns:
        The scores of each run before training and after every slice.
    """
    curves: dict[str, Curve] = {name: [(0.0, score())] for name, (_, score) in runs.items()}
    active = dict(runs)
    n = 0
    while active:
        for name, (train, score) in list(active.items()):
            seconds = train(n)
            if seconds is None:
                del active[name]
            else:
                curves[name].append((curves[name][-1][0] + seconds, score()))
        n += 1
    return curves


def slice_trainer(trainer: Trainer, slices: int) -> TrainSlice:
    """A function that trains the configured run in slices of 1/``slices`` epoch."""
    batches = trainer.loader.batches(0, lambda images: trainer.updater.growth.state_at(images).batch_size)

    def train(n: int) -> float | None:
        end = min((n + 1) * trainer.loader.images_per_epoch / slices, trainer.progress.total_images)
        if trainer.progress.images >= end:
            return None
        start = time.perf_counter()
        with trainer.progress.timer.running():
            while trainer.progress.images < end:
                trainer.step(next(batches))
            synchronizer(trainer.device)()
        return time.perf_counter() - start

    return train


def primary_score(trainer: Trainer, sampler: ImageSampler) -> float:
    """The run's primary metric, of the images of ``sampler``."""
    assert trainer.evaluator.name is not None
    return flatten_scores(trainer.evaluator.suite.evaluate(sampler))[trainer.evaluator.name]


def _slice_steps(steps: int, n: int, slices: int) -> int:
    """Number of steps of the n-th slice, if an epoch of ``steps`` has ``slices`` of them."""
    k = n % slices
    return steps * (k + 1) // slices - steps * k // slices
