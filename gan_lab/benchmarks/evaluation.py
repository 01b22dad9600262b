"""Time of an evaluation and of its parts."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

from gan_lab.benchmarks.timing import Action, Repeated, Result, interleaved, synchronizer
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.metrics.frechet import frechet_distance
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.suite import MetricSuite
from gan_lab.training.trainer import Trainer

BARE_NETWORK, EXTRACTION = "bare network, a batch", "extraction, a batch"


class EvaluationBenchmark(Repeated):
    """Measures the configured evaluation, its parts, and the Frechet distance with and without SciPy's matrix square root.

    Args:
        rounds: number of measurements of each action.
        steps: batches per measurement of the feature network.
        warmup: unmeasured batches before.
        images: number of feature vectors in each of the two sets that a Frechet distance is computed between.
        widths: numbers of features per image for which the Frechet distance is measured.
    """

    def __init__(self, rounds: int, steps: int, warmup: int, images: int, widths: list[int]) -> None:
        super().__init__(rounds, steps, warmup)
        self._images, self._widths = images, widths

    def __call__(self, job: Job) -> Result:
        trainer = build_trainer(job)
        if not _suite(trainer).evaluations:
            raise ValueError("benchmark=evaluation needs a metric: use evaluation=fast")
        trainer.evaluator.prepare(trainer.device, lambda done, total: None)
        distances = self._distances()
        result = Result(self._measure_passes(trainer) | interleaved(distances, self._rounds, 1), unit=self._units(trainer))
        result.ratios["extraction / bare network"] = result.ratio(EXTRACTION, BARE_NETWORK)
        for width in self._widths:
            if (with_scipy := f"{_name(width)}, SciPy") in distances:
                result.ratios[f"SciPy / gan_lab at {width} features"] = result.ratio(with_scipy, _name(width))
        return result

    def _measure_passes(self, trainer: Trainer) -> dict[str, list[float]]:
        suite = _suite(trainer)
        evaluation = suite.evaluations[0]
        images = evaluation.data.images(slice(0, suite.batch_size)).to(trainer.device)
        preprocessed = evaluation.network.preprocess(images)
        statistics = MeanCovariance(evaluation.network.num_features)

        def extraction() -> None:
            statistics.add(evaluation.network(images).features)

        with torch.no_grad():
            parts: dict[str, Action] = {
                BARE_NETWORK: lambda: evaluation.network.extract(preprocessed),
                EXTRACTION: extraction,
            }
            interleaved(parts, 1, self._warmup)
            seconds = interleaved(parts, self._rounds, self._steps, synchronizer(trainer.device))
        return seconds | interleaved(
            {_whole_evaluation(trainer): lambda: suite(trainer.records.sampler.sample)}, self._rounds, 1
        )

    def _distances(self) -> dict[str, Action]:
        """Functions that compute the Frechet distance of random features, by name; with SciPy only if it is installed."""
        random = torch.Generator().manual_seed(0)
        actions: dict[str, Action] = {}
        for width in self._widths:
            a, b = (torch.randn(self._images, width, generator=random).relu_() for _ in range(2))
            actions[_name(width)] = lambda a=a, b=b: frechet_distance(MeanCovariance.of(a), MeanCovariance.of(b))  # type: ignore[misc]
            if importlib.util.find_spec("scipy"):
                actions[f"{_name(width)}, SciPy"] = lambda a=a, b=b: _frechet_distance_scipy(a, b)  # type: ignore[misc]
        return actions

    def _units(self, trainer: Trainer) -> dict[str, float]:
        suite = _suite(trainer)
        num_fakes = suite.evaluations[0].protocol.num_fakes
        return {BARE_NETWORK: suite.batch_size, EXTRACTION: suite.batch_size, _whole_evaluation(trainer): num_fakes}


def _whole_evaluation(trainer: Trainer) -> str:
    return f"{trainer.evaluator.name}, {_suite(trainer).evaluations[0].protocol.num_fakes:,} fakes generated and scored"


def _suite(trainer: Trainer) -> MetricSuite:
    suite = trainer.evaluator.suite
    if not isinstance(suite, MetricSuite):
        raise ValueError(
            "benchmark=evaluation needs a generator with latents; use benchmark=step for the evaluation of super-resolution"
        )
    return suite


def _name(width: int) -> str:
    return f"Frechet distance, {width} features"


def _frechet_distance_scipy(a: Tensor, b: Tensor) -> float:
    """The Frechet distance of two sets of features ``[N, D]`` as pytorch-fid and clean-fid compute it."""
    from scipy.linalg import sqrtm

    x, y = a.double().numpy(), b.double().numpy()
    difference, ca, cb = x.mean(0) - y.mean(0), np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    return float(difference @ difference + np.trace(ca) + np.trace(cb) - 2 * np.trace(np.asarray(sqrtm(ca @ cb))).real)
