"""What a score costs."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

from gan_lab.benchmarks.step import synchronize
from gan_lab.benchmarks.timing import Action, Repeated, Result, interleaved
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.metrics.frechet import frechet_distance
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.suite import MetricSuite
from gan_lab.training.trainer import Trainer


class EvaluationBenchmark(Repeated):
    """The configured score, its parts, and the Frechet distance beside the way with SciPy's matrix square root.

    Args:
        rounds: times each thing is measured.
        steps: batches in a measurement of the network.
        warmup: batches before.
        images: of features on each side of a distance.
        widths: of the features.
    """

    def __init__(self, rounds: int, steps: int, warmup: int, images: int, widths: list[int]) -> None:
        super().__init__(rounds, steps, warmup)
        self._images, self._widths = images, widths

    def __call__(self, job: Job) -> Result:
        trainer = build_trainer(job)
        if not _suite(trainer).evaluations:
            raise ValueError("benchmark=evaluation measures a score: evaluation=fast has one")
        trainer.evaluator.prepare(trainer.device, lambda done, total: None)
        distances = self._distances()
        result = Result(self._passes(trainer) | interleaved(distances, self._rounds, 1), unit=self._units(trainer))
        result.ratios["extraction / bare network"] = result.ratio("extraction, a batch", "bare network, a batch")
        for width in self._widths:
            if f"{_name(width)}, SciPy" in distances:
                result.ratios[f"SciPy's way / ours at {width} features"] = result.ratio(f"{_name(width)}, SciPy", _name(width))
        return result

    def _passes(self, trainer: Trainer) -> dict[str, list[float]]:
        suite = _suite(trainer)
        measure = suite.evaluations[0]
        images = measure.data.images(slice(0, suite.batch_size)).to(trainer.device)
        prepared = measure.network.preprocess(images)
        statistics = MeanCovariance(measure.network.num_features)

        def extraction() -> None:
            statistics.add(measure.network(images).features)

        with torch.no_grad():
            parts: dict[str, Action] = {
                "bare network, a batch": lambda: measure.network.extract(prepared),
                "extraction, a batch": extraction,
            }
            interleaved(parts, 1, self._warmup)
            seconds = interleaved(parts, self._rounds, self._steps, settle=synchronize(trainer.device))
        return seconds | interleaved({self._whole(trainer): lambda: suite(trainer.records.sampler.sample)}, self._rounds, 1)

    def _distances(self) -> dict[str, Action]:
        """From features to the distance, ours and, where SciPy is installed, with its square root."""
        random = torch.Generator().manual_seed(0)
        actions: dict[str, Action] = {}
        for width in self._widths:
            a, b = (torch.randn(self._images, width, generator=random).relu_() for _ in range(2))
            actions[_name(width)] = lambda a=a, b=b: frechet_distance(MeanCovariance.of(a), MeanCovariance.of(b))  # type: ignore[misc]
            if importlib.util.find_spec("scipy"):
                actions[f"{_name(width)}, SciPy"] = lambda a=a, b=b: _with_square_root(a, b)  # type: ignore[misc]
        return actions

    def _units(self, trainer: Trainer) -> dict[str, float]:
        batch = _suite(trainer).batch_size
        whole = _suite(trainer).evaluations[0].protocol.num_fakes
        return {"bare network, a batch": batch, "extraction, a batch": batch, self._whole(trainer): whole}

    @staticmethod
    def _whole(trainer: Trainer) -> str:
        return f"{trainer.evaluator.name}, {_suite(trainer).evaluations[0].protocol.num_fakes:,} fakes generated and scored"


def _suite(trainer: Trainer) -> MetricSuite:
    suite = trainer.evaluator.suite
    if not isinstance(suite, MetricSuite):
        raise ValueError(
            "benchmark=evaluation times scores of images out of latents; benchmark=step tells what those of pairs cost"
        )
    return suite


def _name(width: int) -> str:
    return f"Frechet distance, {width} features"


def _with_square_root(a: Tensor, b: Tensor) -> float:
    """As pytorch-fid and clean-fid compute it."""
    from scipy.linalg import sqrtm

    x, y = a.double().numpy(), b.double().numpy()
    difference, ca, cb = x.mean(0) - y.mean(0), np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    return float(difference @ difference + np.trace(ca) + np.trace(cb) - 2 * np.trace(np.asarray(sqrtm(ca @ cb))).real)
