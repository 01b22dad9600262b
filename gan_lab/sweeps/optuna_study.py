"""A study before its first trial and after its last."""

from __future__ import annotations

import json
import logging
import math
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import STUDY
from gan_lab.sweeps.optuna_trial import RUN_METRICS
from gan_lab.sweeps.study_storage import DEFAULT, LOST, TRIAL, StudyStorage, hide_password, study_lock

log = logging.getLogger(__name__)

DEFINITION = "terms"
"""The study's attribute: what all of its trials have in common."""

WORKERS = "workers"
"""The study's attribute: how many processes have worked on it, each under a number of its own."""

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class StudyDefinition:
    """What may not change while a study goes on, or its trials would not compare.

    Attributes:
        objective: names of what is minimised.
        space: what is chosen for each trial, by key, as the command line spells it.
        fixed: every other value of the configuration, by dotted key.
    """

    objective: list[str]
    space: dict[str, str]
    fixed: dict[str, Any]


class OptunaStudy:
    """A study, made if it isn't there.

    Args:
        name: of the study.
        url: of its storage.
        trials: it is to have.
        heartbeat: seconds between two signs of life of a worker.
        terms: what its trials have in common.
        default: what the first trial chooses, the configuration as it stands; empty: whatever the sampler does.

    Raises:
        ValueError: its storage can't be reached, or it was begun under other terms.
    """

    def __init__(
        self, name: str, url: str, trials: int, heartbeat: int, terms: StudyDefinition, default: dict[str, Any]
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.name, self._trials = name, trials
        self.storage = StudyStorage(url, trials, heartbeat)
        with study_lock(url, self.storage.engine):
            self._study = optuna.create_study(
                study_name=name,
                storage=self.storage,
                directions=["minimize"] * len(terms.objective),
                load_if_exists=True,
            )
            known = self._study.user_attrs.get(DEFINITION)
            if known is None:
                if self._study.trials:
                    raise ValueError(f"study.name={name}: the study of that name in {hide_password(url)} is not one of gan_lab")
                self._study.set_user_attr(DEFINITION, asdict(terms))
                self._study.set_user_attr(DEFAULT, default)
            elif changed := _differences(known, asdict(terms)):
                raise ValueError(
                    f"study.name={name}: the study was begun with {'; '.join(changed)}. Its trials would not compare: choose "
                    "another study.name, or give what it was begun with"
                )
            self._worker = self._study.user_attrs.get(WORKERS, 0)
            self._study.set_user_attr(WORKERS, self._worker + 1)

    @property
    def missing(self) -> int:
        """Trials it still is to have."""
        return max(0, self._trials - len([t for t in self._all() if LOST not in t.user_attrs and t.state.is_finished()]))

    def seed_for(self, base: int) -> int:
        """Of this process's sampler: one that draws neither what another worker draws nor what was drawn before a break."""
        return random.Random(f"{base} {self._worker}").randrange(2**32)

    def record(self) -> dict[str, Any]:
        """All there is to say of it, in plain values."""
        objective = self._study.user_attrs[DEFINITION]["objective"]
        return {
            "name": self.name,
            "objective": objective,
            "has_default": bool(self._study.user_attrs.get(DEFAULT)),
            "space": self._study.user_attrs[DEFINITION]["space"],
            "trials": [_plain(trial) for trial in self._all()],
            "importance": {name: self._importance(n) for n, name in enumerate(objective)},
        }

    def write(self, folder: Path) -> None:
        """Leave all there is to say of it as ``study.json`` beside its runs."""
        write_atomically(folder / STUDY, json.dumps(self.record(), indent=1))

    def complete(self) -> str:
        """What is said instead of a sweep."""
        return (
            f"study {self.name} has its {self._trials} trials: study.trials={2 * self._trials} goes on with it, study.name=... "
            "begins another"
        )

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Around the sweep. At its end Hydra's sweeper asks for the best trial, also where there is none.

        Raises:
            ValueError: every trial has failed, or the storage is no longer there.
        """
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise ValueError(
                f"study {self.name}: its storage is gone ({reason}); once it is back the same command goes on"
            ) from error
        except ValueError as error:
            if any(map(_counts, self._all())) or not self._all():
                raise
            raise ValueError(
                f"study {self.name}: all {len(self._all())} trials have failed, each for the reason told above"
            ) from error

    def _importance(self, objective: int) -> dict[str, float]:
        """Share of each choice in how a random forest tells the values apart: the mean decrease of impurity at its splits.

        Optuna 2's fANOVA does not work with NumPy 2.4.
        """
        trials = [trial for trial in self._all() if _counts(trial) and all(map(math.isfinite, trial.values))]
        if len(trials) < 4 or len({trial.values[objective] for trial in trials}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of its own experiments
            finite = optuna.create_study()
            finite.add_trials([_without_number(trial, trial.values[objective]) for trial in trials])
            try:
                return dict(get_param_importances(finite, evaluator=MeanDecreaseImpurityImportanceEvaluator(seed=0)))
            except (ValueError, RuntimeError) as error:  # a single choice, or all trials alike
                log.debug("no importances: %s", error)
                return {}

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def _without_number(trial: FrozenTrial, value: float) -> FrozenTrial:
    """A trial of one objective, of what was chosen for it alone."""
    params = {name: param for name, param in trial.params.items() if name != TRIAL}
    space = {name: distribution for name, distribution in trial.distributions.items() if name != TRIAL}
    return optuna.trial.create_trial(value=value, params=params, distributions=space)


def _counts(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE


def _plain(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": "lost" if LOST in trial.user_attrs else STATES.get(trial.state, "pruned"),
        "params": {name: value for name, value in trial.params.items() if name != TRIAL},
        "values": trial.values,
        RUN_METRICS: trial.user_attrs.get(RUN_METRICS, []),
    }


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed, in words."""
    found = []
    if then["objective"] != now["objective"]:
        found.append(f"objective={_spell(then['objective'])} and not {_spell(now['objective'])}")
    for part, kind in (("space", "a choice of "), ("fixed", "")):
        before, after = then[part], now[part]
        changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
        found += [f"{kind}{k}={_spell(before.get(k, 'nothing'))} and not {_spell(after.get(k, 'nothing'))}" for k in changed]
    return found[:6] + ([f"{len(found) - 6} more"] if len(found) > 6 else [])


def _spell(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
