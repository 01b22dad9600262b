"""Checks that recognize common failures of GAN training in the recorded metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from gan_lab.utils.formatting import CI_SUFFIX

Metrics = Mapping[str, float]

CheckResult = str | None
"""A sentence about the problem; an empty string if there is none; None if these metrics say nothing about it."""

COVERAGE = "coverage_"
GRADIENT_NORM = "/gradient_norm"
OVERFITTING = "d/overfitting"
SKIPPED_STEPS = "/skipped_steps"
LOSS_SCALE = "/loss_scale"


class Check(ABC):
    """Examines each recorded row of metrics, of training and of evaluations. Its state summarizes earlier rows."""

    @abstractmethod
    def check(self, metrics: Metrics, score: str | None) -> CheckResult:
        """Check one row; ``score`` is the name of the run's primary score, or None."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class CollapseCheck(Check):
    """Mode collapse: a coverage (Naeem et al. 2020, eq. 4) far below its best value so far.

    Args:
        fraction: a coverage below this fraction of the best one counts as collapsed; in (0, 1).
        floor: the check is inactive until the best coverage is above this; in [0, 1).
        patience: consecutive evaluations with a collapsed coverage before the alarm.
    """

    def __init__(self, fraction: float, floor: float, patience: int) -> None:
        if not 0 < fraction < 1 or not 0 <= floor < 1:
            raise ValueError(f"health.collapse: {fraction=} must be in (0, 1) and {floor=} in [0, 1)")
        self._fraction, self._floor, self._patience = fraction, floor, _check_patience("collapse", patience)
        self._best: dict[str, float] = {}
        self._low: dict[str, int] = {}

    def check(self, metrics: Metrics, score: str | None) -> CheckResult:
        names = [name for name in metrics if name.startswith(COVERAGE) and not name.endswith(CI_SUFFIX)]
        return " and ".join(filter(None, [self._of_one(name, metrics[name]) for name in names])) if names else None

    def _of_one(self, name: str, value: float) -> str:
        best = self._best[name] = max(value, self._best.get(name, 0.0))
        low = best > self._floor and value < self._fraction * best
        self._low[name] = self._low.get(name, 0) + 1 if low else 0
        wrong = self._low[name] >= self._patience
        return f"{name} has fallen to {value:.3g}, below {self._fraction:g} of its best, {best:.3g}" if wrong else ""

    def state_dict(self) -> dict[str, Any]:
        return {"best": dict(self._best), "low": dict(self._low)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._best, self._low = dict(state["best"]), dict(state["low"])


class DivergenceCheck(Check):
    """The primary score (lower is better) is far above its best value so far.

    Args:
        factor: a score above this multiple of the best one counts as diverged; positive.
        patience: consecutive evaluations with a diverged score before the alarm.
    """

    def __init__(self, factor: float, patience: int) -> None:
        if not 0 < factor < math.inf:
            raise ValueError(f"health.divergence.factor={factor}: must be positive and finite")
        self._factor, self._patience = factor, _check_patience("divergence", patience)
        self._score: str | None = None
        self._best, self._high = math.inf, 0

    def check(self, metrics: Metrics, score: str | None) -> CheckResult:
        if score is None or score not in metrics:
            return None
        if score != self._score:  # a resume may have another primary score
            self._score, self._best, self._high = score, math.inf, 0
        value = metrics[score]
        self._high = 0 if self._best <= 0 or value <= self._factor * self._best else self._high + 1  # a NaN counts
        if value < self._best:
            self._best = value
        wrong = self._high >= self._patience
        return f"{score} has risen to {value:.4g}, above {self._factor:g} times its best, {self._best:.4g}" if wrong else ""

    def state_dict(self) -> dict[str, Any]:
        return {"score": self._score, "best": self._best, "high": self._high}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._score, self._best, self._high = state["score"], state["best"], state["high"]


class OverfittingCheck(Check):
    """The discriminator overfits: see :class:`gan_lab.training.overfitting.OverfittingEstimate`.

    Args:
        limit: largest allowed ``d/overfitting``; 0 means no overfitting and 1 complete overfitting.
        patience: consecutive evaluations above the limit before the alarm.
    """

    def __init__(self, limit: float, patience: int) -> None:
        if not 0 < limit < math.inf:
            raise ValueError(f"health.overfitting.limit={limit}: must be positive and finite")
        self._limit, self._patience = limit, _check_patience("overfitting", patience)
        self._high = 0

    def check(self, metrics: Metrics, score: str | None) -> CheckResult:
        if OVERFITTING not in metrics:
            return None
        value = metrics[OVERFITTING]
        self._high = self._high + 1 if value > self._limit else 0
        if self._high < self._patience:
            return ""
        return (
            f"{OVERFITTING} is {value:.3g}, above {self._limit:g}: the discriminator rates held-out images more like fakes "
            "than like training images"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"high": self._high}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._high = state["high"]


class GradientCheck(Check):
    """The gradient norm of a network explodes or vanishes, compared with the median of its latest values.

    The norm of a row is the mean over the steps that were not skipped.

    Args:
        explosion: multiple of the median above which the norm has exploded; above 1.
        vanishing: multiple of the median at or below which it has vanished; in (0, 1).
        window: number of latest rows of the median.
        warmup: rows before the first alarm, 1 to ``window``; a norm that is not finite is an alarm from the start.
    """

    def __init__(self, explosion: float, vanishing: float, window: int, warmup: int) -> None:
        if not explosion > 1 or not 0 < vanishing < 1:
            raise ValueError(f"health.gradients: {explosion=} must be above 1 and {vanishing=} in (0, 1)")
        if not 1 <= warmup <= window:
            raise ValueError(f"health.gradients: {warmup=} must be in [1, {window}]")
        self._explosion, self._vanishing, self._window, self._warmup = explosion, vanishing, window, warmup
        self._norms: dict[str, list[float]] = {}

    def check(self, metrics: Metrics, score: str | None) -> CheckResult:
        names = [name for name in metrics if name.endswith(GRADIENT_NORM)]
        return " and ".join(filter(None, [self._of_one(name, metrics[name]) for name in names])) if names else None

    def _of_one(self, name: str, value: float) -> str:
        latest = self._norms.get(name, [])
        if not math.isfinite(value):
            return f"{name} is {value}"
        self._norms[name] = [*latest, value][-self._window :]
        if len(latest) < self._warmup:
            return ""
        usual = median(latest)
        if value <= self._vanishing * usual:
            return f"{name} has vanished: {value:.3g}; its median over {len(latest)} rows was {usual:.3g}"
        if usual > 0 and value > self._explosion * usual:
            return f"{name} has exploded: {value:.3g}; its median over {len(latest)} rows was {usual:.3g}"
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {"norms": {name: list(norms) for name, norms in self._norms.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._norms = {name: list(norms)[-self._window :] for name, norms in state["norms"].items()}


class SkippedStepsCheck(Check):
    """Steps of a network were skipped, because its gradients were not finite.

    Under loss scaling some steps are skipped in every training, while it looks for the largest scale, so these raise no alarm
    unless they are many.

    Args:
        fraction: of the steps since the last row; a larger one is an alarm. In [0, 1).
        scaled_fraction: the same for a network with loss scaling. In [0, 1).
    """

    def __init__(self, fraction: float, scaled_fraction: float) -> None:
        if not 0 <= fraction < 1 or not 0 <= scaled_fraction < 1:
            raise ValueError(f"health.skipped_steps: {fraction=} and {scaled_fraction=} must be in [0, 1)")
        self._fraction, self._scaled_fraction = fraction, scaled_fraction

    def check(self, metrics: Metrics, score: str | None) -> CheckResult:
        if not any(name.endswith(GRADIENT_NORM) for name in metrics):  # a row of scores
            return None
        skipped = {name.removesuffix(SKIPPED_STEPS): metrics[name] for name in metrics if name.endswith(SKIPPED_STEPS)}
        limits = {phase: self._scaled_fraction if f"{phase}{LOSS_SCALE}" in metrics else self._fraction for phase in skipped}
        return " and ".join(
            f"{value:.0%} of the steps of {phase} were skipped, because their gradients were not finite"
            for phase, value in skipped.items()
            if value > limits[phase]
        )

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Each row is checked by itself."""


def _check_patience(check: str, patience: int) -> int:
    if patience < 1:
        raise ValueError(f"health.{check}.patience={patience}: must be at least 1 evaluation")
    return patience


class PruningCheck(Check):
    """Ends a trial of a sweep if the study's pruner decides so.

    Args:
        should_prune: called with the score and the images seen; returns whether the trial should end.
        total_images: images at which the trial ends anyway.
    """

    def __init__(self, should_prune: Callable[[float, int], bool], total_images: int) -> None:
        self._should_prune, self._total_images = should_prune, total_images

    def check(self, metrics: Metrics, score: str | None) -> CheckResult:
        if score is None or score not in metrics or metrics["images"] >= self._total_images:
            return None
        worse = self._should_prune(metrics[score], int(metrics["images"]))
        return f"{score} {metrics[score]:.4g} is worse than that of other trials after as many images" if worse else ""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The state is in the study's storage."""
