"""How soon a training is as good as the tutorial's: scores against seconds."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gan_lab.benchmarks.step import synchronize
from gan_lab.benchmarks.tutorial import in_the_way, tutorial
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.iteration.ema import NoEMA
from gan_lab.metrics.suite import flatten_scores
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.training.trainer import Trainer

OURS, TUTORIAL = "as configured", "tutorial"

Curve = list[tuple[float, float]]
"""Seconds of training, and the score after them."""


@dataclass
class QualityResult:
    """Two curves.

    Attributes:
        score: name of the score, lower being better.
        curves: by who was trained.
        epochs: of the tutorial.
        folder: where the plot goes.
    """

    score: str
    curves: dict[str, Curve]
    epochs: int
    folder: Path

    def reached(self) -> float | None:
        """Seconds after which ours was as good as the tutorial in the end, measured after a slice; None if it never was."""
        wanted = self.curves[TUTORIAL][-1][1]
        return next((seconds for seconds, value in self.curves[OURS] if value <= wanted), None)

    def sentence(self) -> str:
        seconds, wanted = self.curves[TUTORIAL][-1]
        told = f"the tutorial's {self.epochs} epochs end at {self.score} {wanted:.4g} after {seconds:.0f} s; this training"
        if (reached := self.reached()) is None:
            best = min(value for _, value in self.curves[OURS])
            return f"{told} does not reach that in its {self.curves[OURS][-1][0]:.0f} s: {best:.4g} at best"
        end, final = self.curves[OURS][-1]
        share = f"1/{seconds / reached:.1f} of the time"
        return f"{told} is there after {reached:.0f} s, {share}, and ends at {final:.4g} after {end:.0f} s"

    def print(self) -> None:
        from gan_lab.reporting.plots import png, score_vs_time_plot, svg  # bring matplotlib

        table = Table("trained", "seconds", self.score)
        for name, curve in self.curves.items():
            for seconds, value in curve:
                table.add_row(name, f"{seconds:.1f}", f"{value:.4g}")
        console = Console(soft_wrap=True, highlight=False)
        console.print(table)
        console.print(self.sentence())
        figure = score_vs_time_plot(self.curves, self.score)
        (self.folder / "quality.svg").write_text(svg(figure))
        (self.folder / "quality.png").write_bytes(png(figure))
        console.print(f"{self.folder}/quality.png, quality.svg")

    def to_dict(self) -> dict[str, Any]:
        return {"score": self.score, "curves": self.curves, "tutorial_epochs": self.epochs, "seconds_to_reach": self.reached()}


class QualityBenchmark:
    """The configured training and the tutorial's recipe on the same data with the same networks, a slice of each in turn.

    The clock of each runs only while it trains: scores are taken between.

    Args:
        epochs: of the tutorial.
        batch_size: its own; pytorch/examples has 64.
        slices: scores in an epoch.
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
                raise ValueError("benchmark=quality needs a score: evaluation=fast")
            if why_not := in_the_way(job.cfg, trainer.updater.gan):
                raise ValueError(f"benchmark=quality: {why_not}")
            trainer.callbacks = trainer.callbacks.subset(["logging"], end=trainer.progress.total_images)
            trainer.evaluator.prepare(trainer.device, lambda done, total: None)
            trainer.records.tracker.start(trainer.records.info)
            with tutorial(job.cfg, trainer, self._batch_size, folder) as book:
                other = copy.deepcopy(trainer.updater.gan.generator)
                sampler = ImageSampler(NoEMA(other), trainer.updater.gan, job.cfg.dataset.size, trainer.device)
                steps = -(-len(trainer.loader.data) // self._batch_size)  # its loader keeps the last, smaller batch

                def of_book() -> float:
                    other.load_state_dict(book.generator())
                    return score_of(trainer, sampler)

                curves = in_slices(
                    {
                        OURS: (sliced(trainer, self._slices), lambda: score_of(trainer, trainer.records.sampler)),
                        TUTORIAL: (
                            lambda n: book.steps(_part(steps, n, self._slices)) if n < self._epochs * self._slices else None,
                            of_book,
                        ),
                    }
                )
            trainer.records.tracker.finish(trainer.records.summary("finished"))
        return QualityResult(trainer.evaluator.name, curves, self._epochs, job.directory.path)


Slice = Callable[[int], float | None]
"""Train the n-th slice: the seconds it took, or None at the end."""


def in_slices(trained: dict[str, tuple[Slice, Callable[[], float]]]) -> dict[str, Curve]:
    """Train each a slice at a time, in turn, until all have come to their ends; the first point is the untrained one's."""
    curves: dict[str, Curve] = {name: [(0.0, score())] for name, (_, score) in trained.items()}
    left = dict(trained)
    n = 0
    while left:
        for name, (train, score) in list(left.items()):
            seconds = train(n)
            if seconds is None:
                del left[name]
            else:
                curves[name].append((curves[name][-1][0] + seconds, score()))
        n += 1
    return curves


def sliced(trainer: Trainer, slices: int) -> Slice:
    """A training in parts of an epoch."""
    batches = trainer.loader.batches(0, lambda images: trainer.updater.growth.state_at(images).batch_size)

    def train(n: int) -> float | None:
        end = min((n + 1) * trainer.loader.images_per_epoch / slices, trainer.progress.total_images)
        if trainer.progress.images >= end:
            return None
        begun = time.perf_counter()
        with trainer.progress.timer.running():
            while trainer.progress.images < end:
                trainer.step(next(batches))
            synchronize(trainer.device)()
        return time.perf_counter() - begun

    return train


def score_of(trainer: Trainer, sampler: ImageSampler) -> float:
    """The score the run is judged by, of whatever ``sampler`` draws from."""
    assert trainer.evaluator.name is not None
    return flatten_scores(trainer.evaluator.suite.evaluate(sampler))[trainer.evaluator.name]


def _part(steps: int, n: int, slices: int) -> int:
    """Steps of the n-th slice of ``slices`` in an epoch of ``steps``."""
    k = n % slices
    return steps * (k + 1) // slices - steps * k // slices
