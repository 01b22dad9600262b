"""Evaluates the generator between training steps, starting with the untrained one."""

from __future__ import annotations

from collections.abc import Callable

from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.updater import GANUpdater
from gan_lab.training.checkpointer import Checkpointer
from gan_lab.training.evaluator import TrainingEvaluator
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.training.metric_recorder import MetricRecorder
from gan_lab.training.overfitting import NoOverfittingEstimate, OverfittingEstimate
from gan_lab.utils.progress import Progress


class EvaluationStopped(Exception):
    """An evaluation was given up because the training is to end; nothing of it is recorded."""


class ScheduledEvaluation:
    """A callback that evaluates, records the scores, and saves the best checkpoint.

    Args:
        evaluator: measures the scores.
        overfitting: measures how much the discriminator overfits.
        sampler: samples the generator that is evaluated.
        updater: the networks.
        progress: the training progress.
        recorder: receives the scores.
        checkpointer: saves ``best.pt``.
        show_progress: called with the number of images done and the total.
    """

    def __init__(
        self,
        evaluator: TrainingEvaluator,
        overfitting: OverfittingEstimate | NoOverfittingEstimate,
        sampler: ImageSampler,
        updater: GANUpdater,
        progress: TrainingProgress,
        recorder: MetricRecorder,
        checkpointer: Checkpointer,
        show_progress: Progress,
    ) -> None:
        self._evaluator, self._overfitting, self._sampler = evaluator, overfitting, sampler
        self._updater, self._progress = updater, progress
        self._recorder, self._checkpointer, self._show_progress = recorder, checkpointer, show_progress
        self._untrained: ImageSampler | None = None
        self.is_to_stop: Callable[[], bool] = lambda: False
        """Whether an evaluation is to be given up; asked after each batch of images."""

    def keep_untrained(self) -> None:
        """Keep a copy of the untrained generator, which is evaluated before the first row is logged."""
        self._untrained = self._sampler.snapshot()

    def evaluate_untrained(self) -> None:
        """Record the scores of the untrained generator, as the first point of the curve, if that is still to be done.

        This happens after the first steps, so that it does not delay the start of the training.
        """
        if self._untrained is not None:
            if scores := self._evaluator.evaluate(self._untrained, 0, self._show_progress):
                self._recorder.record_untrained(scores)
            self._untrained = None

    def __call__(self) -> None:
        """Evaluate.

        Raises:
            EvaluationStopped: ``is_to_stop`` has become true.
        """
        self._updater.all_reduce_buffers()
        scores = self._evaluator.evaluate(self._sampler, self._progress.images, self._show_or_stop)
        if metrics := scores | self._measure_overfitting():
            self._recorder.record(metrics)
        if scores and self._evaluator.update_best():
            self._checkpointer.save("best")

    def _show_or_stop(self, done: int, total: int) -> None:
        self._show_progress(done, total)
        if done < total and self.is_to_stop():
            raise EvaluationStopped

    def _measure_overfitting(self) -> dict[str, float]:
        """``d/overfitting``, measured by the main process; empty for untrained networks."""
        if not self._progress.images:
            return {}
        processes = self._updater.gan.processes
        return processes.on_main_process(lambda: self._overfitting(self._updater.growth_state))
