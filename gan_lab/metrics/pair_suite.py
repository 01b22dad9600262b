"""Super-resolutions beside their originals, and beside what bicubic interpolation makes of the same small pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gan_lab.metrics.full_reference import FullReferenceMetric
from gan_lab.metrics.suite import Result
from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.utils.progress import Progress, silent

Upscale = Callable[[Tensor], Tensor]
"""A uint8 picture ``[C, h, w]`` to a larger one."""

PAIRS = "pairs"
"""Name of the protocol."""

BICUBIC = "bicubic/"
"""Before the name of a score that bicubic interpolation has."""


@dataclass(frozen=True)
class ImagePair:
    """``high``: the original, uint8 ``[C, H, W]``; ``low``: what was made of it; ``bicubic``: that enlarged."""

    high_resolution: Tensor
    low_resolution: Tensor
    bicubic: Tensor


class ImagePairs(Protocol):
    """Pictures to be enlarged, with what should come out."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> ImagePair: ...


class FullReferenceSuite:
    """Enlarges each example once, and takes all the scores of it.

    Args:
        examples: by number, made anew whenever asked for.
        names: of them.
        metrics: by name.
        score: name of the score that a run is judged by, lower being better; None: the first metric's that has one.
        record: how the small pictures were made, and of what.

    Attributes:
        measures: whether anything is measured.
    """

    def __init__(
        self,
        examples: ImagePairs,
        names: Sequence[str],
        metrics: Mapping[str, FullReferenceMetric],
        score: str | None,
        record: Mapping[str, Any],
    ) -> None:
        self._examples, self._names, self.metrics = examples, list(names), dict(metrics)
        headlines = [metric.primary_score for metric in self.metrics.values() if metric.primary_score]
        if score is not None and score not in headlines:
            raise ValueError(
                f"evaluation.score={score}: must be one of {', '.join(headlines) or 'none'}, which are lower if better"
            )
        self.score_name = score or next(iter(headlines), None)
        self._record = dict(record)
        self._bicubic: list[dict[str, float]] = []

    @property
    def evaluations(self) -> bool:
        return bool(self.metrics)

    def prepare(self, device: torch.device, progress: Progress = silent, reals: bool = True) -> None:
        """Measure the bicubic ones; a process that measures nothing needs none."""
        for metric in self.metrics.values():
            metric.to(device)
        if reals and self.metrics and not self._bicubic:
            for number in range(len(self._examples)):
                example = self._examples[number]
                self._bicubic.append(self._scores(example.bicubic, example.high_resolution))
                progress(number + 1, len(self._examples))

    @torch.no_grad()
    def __call__(
        self,
        enlarge: Upscale,
        progress: Progress = silent,
        details: bool = False,
        ranks: SingleProcess = SINGLE_PROCESS,
    ) -> list[Result]:
        """Enlarge and measure; several processes take turns, and the leader gets the result."""
        own: dict[int, dict[str, float]] = {}
        for number in range(ranks.rank, len(self._examples), ranks.world_size):
            example = self._examples[number]
            own[number] = self._scores(enlarge(example.low_resolution), example.high_resolution)
            progress(number + 1, len(self._examples))
        found = {number: scores for part in ranks.all_gather_object(own) for number, scores in part.items()}
        if not ranks.is_main_process or not self.metrics:
            return []
        scores = _means([found[number] for number in range(len(self._examples))])
        beside = {f"{BICUBIC}{name}": value for name, value in _means(self._bicubic).items()}
        tables: dict[str, dict[str, float]] = {}
        for number, name in enumerate(self._names if details else ()):
            tables[name] = found[number] | {f"{BICUBIC}{key}": value for key, value in self._bicubic[number].items()}
        return [Result(PAIRS, scores | beside, self.record(), tables, None)]

    def evaluate(self, sampler: Any, progress: Progress = silent, ranks: SingleProcess = SINGLE_PROCESS) -> list[Result]:
        """What a sampler or a run, which can :attr:`enlarge`, is worth."""
        return self(sampler.upscale, progress, ranks=ranks)

    def record(self) -> dict[str, Any]:
        """How the scores are taken."""
        settings = {f"metric {name}": metric.settings() for name, metric in self.metrics.items()}
        return {"protocol": PAIRS, **self._record, "mean": "over the pictures' scores", **settings}

    def describe(self) -> str:
        """The score and how it is taken, in words."""
        record = self.record()
        return f"{self.score_name}: {record['reals']}, made small by {record['degradation']}"

    def flatten(self, results: Sequence[Result]) -> dict[str, float]:
        """All scores in one dictionary."""
        return {name: value for result in results for name, value in result.scores.items()}

    def _scores(self, fake: Tensor, real: Tensor) -> dict[str, float]:
        pair = fake[None], real[None]
        return {name: value for metric in self.metrics.values() for name, value in metric(*pair).items()}


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in scores) / len(scores) for name in (scores[0] if scores else {})}
