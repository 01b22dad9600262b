"""What can be seen to go wrong in a run's figures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from gan_lab.utils.formatting import CI_SUFFIX

Figures = Mapping[str, float]

CheckResult = str | None
"""A sentence that says what is wrong; an empty one where all is well; None where the figures say nothing about it."""

COVERAGE = "coverage_"
GRADIENT_NORM = "/gradient_norm"
OVERFITTING = "d/overfitting"


class Check(ABC):
    """Looks at figures as they come, those of a tick and those of an evaluation alike; its state is what it remembers."""

    @abstractmethod
    def check(self, figures: Figures, score: str | None) -> CheckResult:
        """Figures just measured; ``score`` is the name of the one the run is judged by, if it has one."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class CollapseCheck(Check):
    """The generator has lost much of the variety it had: a coverage (Naeem et al. 2020, eq. 4) far below its best.

    Args:
        share: of the best so far, below which a coverage has fallen, in (0, 1).
        floor: a coverage that was never above it has nothing to lose, in [0, 1).
        patience: evaluations in a row.
    """

    def __init__(self, fraction: float, floor: float, patience: int) -> None:
        if not 0 < fraction < 1 or not 0 <= floor < 1:
            raise ValueError(f"health.collapse: {fraction=} must lie within 0 and 1, {floor=} too or be 0")
        self._fraction, self._floor, self._patience = fraction, floor, _check_patience("collapse", patience)
        self._best: dict[str, float] = {}
        self._low: dict[str, int] = {}

    def check(self, figures: Figures, score: str | None) -> CheckResult:
        names = [name for name in figures if name.startswith(COVERAGE) and not name.endswith(CI_SUFFIX)]
        return " and ".join(filter(None, [self._of_one(name, figures[name]) for name in names])) if names else None

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
    """The run's score, lower being better, is far above its best.

    Args:
        factor: of the best so far, above which it is; positive.
        patience: evaluations in a row.
    """

    def __init__(self, factor: float, patience: int) -> None:
        if not 0 < factor < math.inf:
            raise ValueError(f"health.divergence.factor={factor}: must be positive and finite")
        self._factor, self._patience = factor, _check_patience("divergence", patience)
        self._score: str | None = None
        self._best, self._high = math.inf, 0

    def check(self, figures: Figures, score: str | None) -> CheckResult:
        if score is None or score not in figures:
            return None
        if score != self._score:  # a resume may be judged by another one
            self._score, self._best, self._high = score, math.inf, 0
        value = figures[score]
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
    """The discriminator knows its training images by heart: see :class:`gan_lab.training.overfitting.OverfittingEstimate`.

    Args:
        limit: of ``d/overfitting``, above which it does; 0 is none at all and 1 complete.
        patience: evaluations in a row.
    """

    def __init__(self, limit: float, patience: int) -> None:
        if not 0 < limit < math.inf:
            raise ValueError(f"health.overfitting.limit={limit}: must be positive and finite")
        self._limit, self._patience = limit, _check_patience("overfitting", patience)
        self._high = 0

    def check(self, figures: Figures, score: str | None) -> CheckResult:
        if OVERFITTING not in figures:
            return None
        value = figures[OVERFITTING]
        self._high = self._high + 1 if value > self._limit else 0
        if self._high < self._patience:
            return ""
        return f"{OVERFITTING} is {value:.3g}, above {self._limit:g}: held-out images are judged more like fakes than reals"

    def state_dict(self) -> dict[str, Any]:
        return {"high": self._high}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._high = state["high"]


class GradientCheck(Check):
    """A player's gradient explodes or vanishes, beside what it usually was.

    Steps that loss scaling has skipped repeat the norm before them, and say nothing here.

    Args:
        explosion: times the median of the latest norms, above which it does; above 1.
        vanishing: the same, at or below which it does; in (0, 1).
        window: ticks the median is taken over.
        warmup: ticks before anything is said but of a norm that is not finite; 1 to ``window``.
    """

    def __init__(self, explosion: float, vanishing: float, window: int, warmup: int) -> None:
        if not explosion > 1 or not 0 < vanishing < 1:
            raise ValueError(f"health.gradients: {explosion=} must be above 1 and {vanishing=} within 0 and 1")
        if not 1 <= warmup <= window:
            raise ValueError(f"health.gradients: {warmup=} must be 1 to {window=}")
        self._explosion, self._vanishing, self._window, self._warmup = explosion, vanishing, window, warmup
        self._norms: dict[str, list[float]] = {}

    def check(self, figures: Figures, score: str | None) -> CheckResult:
        names = [name for name in figures if name.endswith(GRADIENT_NORM)]
        return " and ".join(filter(None, [self._of_one(name, figures[name]) for name in names])) if names else None

    def _of_one(self, name: str, value: float) -> str:
        latest = self._norms.get(name, [])
        if not math.isfinite(value):
            return f"{name} is {value}"
        self._norms[name] = [*latest, value][-self._window :]
        if len(latest) < self._warmup:
            return ""
        usual = median(latest)
        if value <= self._vanishing * usual:
            return f"{name} has vanished: {value:.3g}, while its median over {len(latest)} ticks was {usual:.3g}"
        if usual > 0 and value > self._explosion * usual:
            return f"{name} has exploded: {value:.3g}, while its median over {len(latest)} ticks was {usual:.3g}"
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {"norms": {name: list(norms) for name, norms in self._norms.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._norms = {name: list(norms)[-self._window :] for name, norms in state["norms"].items()}


def _check_patience(check: str, patience: int) -> int:
    if patience < 1:
        raise ValueError(f"health.{check}.patience={patience}: must be at least 1 evaluation")
    return patience


class PruningCheck(Check):
    """A trial of a sweep that does worse than others did at its age, whoever judges that.

    Args:
        judge: told the score and the images seen; whether the trial should end.
        total_images: at which it ends in any case.
    """

    def __init__(self, should_prune: Callable[[float, int], bool], total_images: int) -> None:
        self._should_prune, self._total_images = should_prune, total_images

    def check(self, figures: Figures, score: str | None) -> CheckResult:
        if score is None or score not in figures or figures["images"] >= self._total_images:
            return None
        worse = self._should_prune(figures[score], int(figures["images"]))
        return f"{score} {figures[score]:.4g} is worse than other trials had it by now" if worse else ""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is remembered here, but by the study."""
