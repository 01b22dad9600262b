"""Evaluates super-resolution: full-reference scores of the generator, next to those of bicubic interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gan_lab.metrics.full_reference import FullReferenceMetric
from gan_lab.metrics.suite import Result
from gan_lab.runtime.device import without_tf32
from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.utils.progress import Progress, silent

Upscale = Callable[[Tensor], Tensor]
"""Maps a uint8 image ``[C, h, w]`` to ``[C, scale * h, scale * w]``."""

PROTOCOL_NAME = "pairs"
"""The name these scores are stored under."""

BICUBIC = "bicubic/"
"""Prefix of the scores of bicubic interpolation."""


@dataclass(frozen=True)
class SuperResolutionExample:
    """An image in three versions, uint8.

    Attributes:
        high_resolution: the original, ``[C, H, W]``.
        low_resolution: the degraded original, ``[C, H / scale, W / scale]``.
        bicubic: ``low_resolution`` upscaled by bicubic interpolation, ``[C, H, W]``.
    """

    high_resolution: Tensor
    low_resolution: Tensor
    bicubic: Tensor


class SuperResolutionExamples(Protocol):
    """A sequence of examples, computed on access; the images may have different sizes."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> SuperResolutionExample: ...


class FullReferenceSuite:
    """Upscales each example once and computes all metrics; scores are means over the examples that are large enough.

    Args:
        examples: the images, the same on every access.
        names: of the examples.
        metrics: by name.
        score: the score that represents the run (lower is better); None: the first primary score of the metrics.
        record: the origin of the images and their degradation, stored with the scores.

    Raises:
        ValueError: ``score`` is not the primary score of a metric.
    """

    def __init__(
        self,
        examples: SuperResolutionExamples,
        names: Sequence[str],
        metrics: Mapping[str, FullReferenceMetric],
        score: str | None,
        record: Mapping[str, Any],
    ) -> None:
        self._examples, self._names, self.metrics = examples, list(names), dict(metrics)
        allowed = [metric.primary_score for metric in self.metrics.values() if metric.primary_score]
        if score is not None and score not in allowed:
            raise ValueError(
                f"evaluation.score={score}: must be one of {', '.join(allowed) or 'none'}, of which lower values are better"
            )
        self.score_name = score or next(iter(allowed), None)
        self._record = dict(record)
        self._bicubic: list[dict[str, float]] = []

    @property
    def evaluations(self) -> bool:
        """Whether anything is measured."""
        return bool(self.metrics)

    @without_tf32()
    def prepare(self, device: torch.device, progress: Progress = silent, reals: bool = True) -> None:
        """Move the metrics to ``device`` and measure bicubic interpolation.

        ``reals=False`` skips the measurement, which only the main process needs.
        """
        for metric in self.metrics.values():
            metric.to(device)
        if reals and self.metrics and not self._bicubic:
            for number in range(len(self._examples)):
                example = self._examples[number]
                self._bicubic.append(self._scores(example.bicubic, example.high_resolution))
                progress(number + 1, len(self._examples))

    @without_tf32()
    @torch.no_grad()
    def __call__(
        self,
        upscale: Upscale,
        progress: Progress = silent,
        details: bool = False,
        processes: SingleProcess = SINGLE_PROCESS,
    ) -> list[Result]:
        """Upscale the examples and measure them, with ``details`` including the scores of each.

        Each process measures every ``world_size``-th example; the main process returns the result and the others an empty list.
        """
        own: dict[int, dict[str, float]] = {}
        for number in range(processes.rank, len(self._examples), processes.world_size):
            example = self._examples[number]
            own[number] = self._scores(upscale(example.low_resolution), example.high_resolution)
            progress(number + 1, len(self._examples))
        measured = {number: scores for part in processes.all_gather_object(own) for number, scores in part.items()}
        if not processes.is_main_process or not self.metrics:
            return []
        rows = [measured[number] | _with_prefix(scores) for number, scores in enumerate(self._bicubic)]
        tables = dict(zip(self._names, rows, strict=True)) if details else {}
        return [Result(PROTOCOL_NAME, mean_scores(rows), self.record(), tables, None)]

    def evaluate(self, sampler: Any, progress: Progress = silent, processes: SingleProcess = SINGLE_PROCESS) -> list[Result]:
        """Measure an object whose method ``upscale`` is an :data:`Upscale`, such as an image sampler or a run."""
        return self(sampler.upscale, progress, processes=processes)

    def record(self) -> dict[str, Any]:
        """Everything the scores depend on, as stored with them. Scores with equal records are comparable."""
        mean = "over the pictures' scores"  # stored with scores: do not change
        return {"protocol": PROTOCOL_NAME, **self._record, "mean": mean, **describe_metrics(self.metrics)}

    def describe(self) -> str:
        """The run's score and how it is measured, in one line."""
        record = self.record()
        return f"{self.score_name}: {record['reals']}, degraded by {record['degradation']}"

    def _scores(self, fake: Tensor, real: Tensor) -> dict[str, float]:
        return scores_of_pair(self.metrics, fake[None], real[None])


def scores_of_pair(metrics: Mapping[str, FullReferenceMetric], fake: Tensor, real: Tensor) -> dict[str, float]:
    """The scores of an image and its original, ``[1, C, H, W]``, in all metrics for which they are large enough."""
    fitting = [metric for metric in metrics.values() if min(real.shape[2:]) >= metric.min_size]
    return {name: value for metric in fitting for name, value in metric(fake, real).items()}


def describe_metrics(metrics: Mapping[str, FullReferenceMetric]) -> dict[str, str]:
    """The entries of a record of scores that contain the settings of each metric, such as the border and the LPIPS network."""
    return {f"metric {name}": metric.settings() for name, metric in metrics.items()}


def _with_prefix(scores: Mapping[str, float]) -> dict[str, float]:
    return {f"{BICUBIC}{name}": value for name, value in scores.items()}


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over the images that have it."""
    columns = {name: [row[name] for row in rows if name in row] for name in dict.fromkeys(n for row in rows for n in row)}
    return {name: sum(values) / len(values) for name, values in columns.items()}
