"""Evaluates the averaged generator during training and keeps the best scores."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from gan_lab.metrics.full_reference_suite import BICUBIC, FullReferenceSuite
from gan_lab.metrics.protocol import differences
from gan_lab.metrics.suite import MetricSuite, flatten_scores
from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.training.image_sampler import ImageSampler
from gan_lab.utils.formatting import format_with_ci
from gan_lab.utils.progress import Progress

log = logging.getLogger(__name__)

SLOW_SECONDS = 60.0
"""An evaluation that takes longer is followed by a hint on how to make it cheaper."""


class TrainingEvaluator:
    """Evaluates the averaged generator and keeps the latest and the best scores.

    Args:
        suite: the metrics.
        processes: the processes that generate the fakes together; the main process computes the metrics.
        target: the primary score at or below which the training ends; None: it ends otherwise.

    Attributes:
        latest, best: scores, with the ``images`` seen and their ``protocols``; empty before the first evaluation.
        outdated: images seen at the best checkpoint, if its score is not comparable after a resume with another protocol; else
            None.
    """

    def __init__(
        self, suite: MetricSuite | FullReferenceSuite, processes: SingleProcess = SINGLE_PROCESS, target: float | None = None
    ) -> None:
        self.suite, self.target = suite, target
        self._processes = processes
        self.latest: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self._warned = False
        self.outdated: int | None = None

    @property
    def name(self) -> str | None:
        """The score by which the best checkpoint is chosen; lower is better."""
        return self.suite.score_name

    @property
    def has_reached_target(self) -> bool:
        """Whether the latest score is at most the target."""
        return self.target is not None and self.latest.get(self.name or "", math.inf) <= self.target

    def prepare(self, device: torch.device, progress: Progress) -> None:
        """Load feature networks and the statistics of real images."""
        self.suite.prepare(device, progress, reals=self._processes.is_main_process)

    def evaluate(self, sampler: ImageSampler, images: int, progress: Progress) -> dict[str, float]:
        """Evaluate ``sampler``; returns scores by name and the duration in seconds, or an empty dictionary without metrics."""
        if not self.suite.evaluations:
            return {}
        start = time.perf_counter()
        results = self.suite.evaluate(sampler, progress, self._processes)
        protocols = {result.name: result.protocol for result in results}
        took = time.perf_counter() - start
        scores, protocols, took = self._processes.broadcast_object((flatten_scores(results), protocols, took))
        if took > SLOW_SECONDS and not self._warned:
            self._warned = True
            log.warning(
                "an evaluation took %.0f s; a smaller evaluation.num_fakes or evaluation.features=dataset_classifier or random "
                "makes it faster, and a smaller evaluation.max_time_fraction makes it less frequent",
                took,
            )
        self.latest = {**scores, "images": images, "protocols": protocols}
        return {**scores, "time/evaluation_seconds": took}

    def update_best(self) -> bool:
        """Keep the latest score as the best one if it is; returns whether it is."""
        if self.name is None or not self.latest or not math.isfinite(self.latest[self.name]):
            return False
        if self.best and self.latest[self.name] >= self.best[self.name]:
            return False
        self.best = self.latest
        return True

    def format_summary(self) -> str:
        """The latest score, and the best one if it differs: ``fd_fashion 12.30 ± 0.30, best ...``; empty without a score."""
        if self.name is None or not self.latest:
            return ""
        text = f"{self.name} {format_with_ci(self.latest, self.name)}"
        for name in ("psnr_y", "ssim_y"):
            if f"{BICUBIC}{name}" in self.latest:
                text += f", {name} {self.latest[name]:.4g} (bicubic {self.latest[f'{BICUBIC}{name}']:.4g})"
        if not self.best or self.best["images"] == self.latest["images"]:
            return text
        return f"{text}, best {format_with_ci(self.best, self.name)} at {self.best['images']:,} images"

    def state_dict(self) -> dict[str, Any]:
        return {"latest": self.latest, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.latest, self.best = state["latest"], state["best"]
        if self.best and (changed := self._protocol_changes()):
            log.warning("from now on scores are measured differently and can't be compared with earlier ones (%s)", changed)
            self.outdated, self.best, self.latest = self.best["images"], {}, {}

    def _protocol_changes(self) -> str:
        """The differences between the current protocol and that of the best score, in one line; empty if there are none."""
        before: dict[str, Any] = next(iter(self.best["protocols"].values()), {})
        changes = differences([before, self.suite.record()])
        return "; ".join(f"{key} was {old} and is {new}" for key, (old, new) in changes.items())
