"""The scores of a run: the latest, the best, and whether there is time for another."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from gan_lab.metrics.pair_suite import BICUBIC, FullReferenceSuite
from gan_lab.metrics.protocol import differences
from gan_lab.metrics.suite import MetricSuite
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.utils.formatting import format_with_ci
from gan_lab.utils.progress import Progress

log = logging.getLogger(__name__)

SLOW_SECONDS = 60.0
"""Seconds a score may take before it is said how it could take fewer."""


class TrainingEvaluator:
    """Measures the sampling generator, and remembers.

    Args:
        suite: what is measured.
        max_time_fraction: of the training time that scores may take, or None for any.
        ranks: the processes that make the fakes together; the leader measures them.

    Attributes:
        latest, best: scores with the ``images`` seen and their ``protocols``, empty before the first.
        outdated: images of a best checkpoint whose score, since a resume, compares with none any more; else None.
    """

    def __init__(
        self, suite: MetricSuite | FullReferenceSuite, max_time_fraction: float | None, ranks: SingleProcess | None = None
    ) -> None:
        if max_time_fraction is not None and not 0 < max_time_fraction <= 1:
            raise ValueError(
                f"evaluation.max_time_fraction={max_time_fraction}: a share of the training time, above 0 and at most 1"
            )
        self.suite = suite
        self._ranks = ranks or SingleProcess()
        self.latest: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self._max_share = max_time_fraction
        self._seconds = self._last = 0.0
        self._warned = False
        self.outdated: int | None = None

    @property
    def name(self) -> str | None:
        """The score by which the best checkpoint is chosen."""
        return self.suite.score_name

    def prepare(self, device: torch.device, progress: Progress) -> None:
        self.suite.prepare(device, progress, reals=self._ranks.is_main_process)

    def within_time_budget(self, training_seconds: float) -> bool:
        """Whether another measurement, taking as long as the last, stays within the share."""
        return self._max_share is None or self._seconds + self._last <= self._max_share * training_seconds

    def evaluate(self, sampler: ImageSampler, images: int, progress: Progress) -> dict[str, float]:
        """Scores by name, with the time they took; nothing if nothing is measured."""
        if not self.suite.evaluations:
            return {}
        start = time.perf_counter()
        results = self.suite.evaluate(sampler, progress, self._ranks)
        protocols = {result.name: result.protocol for result in results}
        took = time.perf_counter() - start
        scores, protocols, self._last = self._ranks.broadcast_object((self.suite.flatten(results), protocols, took))
        self._seconds += self._last
        if self._last > SLOW_SECONDS and self._max_share is None and not self._warned:
            self._warned = True
            log.warning(
                "a score took %.0f s; fewer evaluation.num_fakes, evaluation.features=dataset_classifier or random, or "
                "evaluation.max_time_fraction=0.1 make scores cost less",
                self._last,
            )
        self.latest = {**scores, "images": images, "protocols": protocols}
        return {**scores, "time/evaluation_seconds": self._last}

    def update_best(self) -> bool:
        """Whether the latest score is the best yet; it is then."""
        if self.name is None or not self.latest or not math.isfinite(self.latest[self.name]):
            return False
        if self.best and self.latest[self.name] >= self.best[self.name]:
            return False
        self.best = self.latest
        return True

    def format_summary(self) -> str:
        """The latest score in words, and the best where that is another: ``fd_fashion 12.3 ± 0.3``; empty without one."""
        if self.name is None or not self.latest:
            return ""
        told = f"{self.name} {format_with_ci(self.latest, self.name)}"
        for name in ("psnr_y", "ssim_y"):
            if f"{BICUBIC}{name}" in self.latest:
                told += f", {name} {self.latest[name]:.4g} (bicubic {self.latest[f'{BICUBIC}{name}']:.4g})"
        if not self.best or self.best["images"] == self.latest["images"]:
            return told
        return f"{told}, best {format_with_ci(self.best, self.name)} at {self.best['images']:,} images"

    def state_dict(self) -> dict[str, Any]:
        return {"latest": self.latest, "best": self.best, "seconds": self._seconds, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.latest, self.best = state["latest"], state["best"]
        self._seconds, self._last = state["seconds"], state["last"]
        if self.best and (changed := self._changed()):
            log.warning("from here on scores are taken in another way and do not compare with those before (%s)", changed)
            self.outdated, self.best, self.latest = self.best["images"], {}, {}

    def _changed(self) -> str:
        """In what the score of a resumed run is taken in another way than its best one was, in words."""
        then: dict[str, Any] = next(iter(self.best["protocols"].values()), {})
        found = differences([then, self.suite.record()])
        return "; ".join(f"{key} was {before} and is {after}" for key, (before, after) in found.items())
