"""An Optuna study: creating or continuing it, and recording its results."""

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
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import STUDY
from gan_lab.sweeps.optuna_trial import RUN_METRICS
from gan_lab.sweeps.optuna_versions import importance_evaluator
from gan_lab.sweeps.study_storage import DEFAULT, LOST, TRIAL, StudyStorage, study_lock
from gan_lab.utils.formatting import format_count, hide_passwords

log = logging.getLogger(__name__)

DEFINITION = "terms"
"""Key of the study's user attribute with its :class:`StudyDefinition`."""

WORKERS = "workers"
"""Key of the study's user attribute with the number of processes that have worked on it."""

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
"""Names of trial states in ``study.json``; it also has ``lost`` and ``pruned``."""


@dataclass(frozen=True)
class StudyDefinition:
    """What all trials of a study have in common; they could not be compared if it changed.

    Attributes:
        objective: names of the objectives, which are minimized.
        space: the search space: for each key its choices or interval, in the syntax of the command line.
        fixed: all other values of the configuration that affect results, by dotted key.
    """

    objective: list[str]
    space: dict[str, str]
    fixed: dict[str, Any]


class OptunaStudy:
    """Loads a study, or creates it if there is none of that name.

    Args:
        name: of the study.
        url: SQLAlchemy URL of its storage.
        trials: total number of trials.
        heartbeat: seconds between two heartbeats of a worker.
        definition: what its trials have in common.
        default: parameters of the first trial, the values of the configuration without the sweep; empty: the sampler decides.

    Raises:
        ValueError: the storage can't be reached, or the study was started with another definition.
    """

    def __init__(
        self, name: str, url: str, trials: int, heartbeat: int, definition: StudyDefinition, default: dict[str, Any]
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.name, self._trials = name, trials
        self.storage = StudyStorage(url, trials, heartbeat)
        with study_lock(url, self.storage.engine):
            self._study = optuna.create_study(
                study_name=name,
                storage=self.storage,
                directions=["minimize"] * len(definition.objective),
                load_if_exists=True,
            )
            stored = self._study.user_attrs.get(DEFINITION)
            if stored is None:
                if self._study.trials:
                    raise ValueError(
                        f"study.name={name}: the study of that name in {hide_passwords(url)} was not created by gan_lab; "
                        "choose another study.name"
                    )
                self._study.set_user_attr(DEFINITION, asdict(definition))
                self._study.set_user_attr(DEFAULT, default)
            elif changes := _differences(stored, asdict(definition)):
                raise ValueError(
                    f"study.name={name}: the study was started with {'; '.join(changes)}. Its trials would not be "
                    "comparable: choose another study.name, or the values it was started with"
                )
            self._worker = self._study.user_attrs.get(WORKERS, 0)
            self._study.set_user_attr(WORKERS, self._worker + 1)

    @property
    def missing(self) -> int:
        """Number of trials that are still to be made. Failed trials count as made, lost ones don't."""
        finished = [t for t in self._trials_so_far() if LOST not in t.user_attrs and t.state.is_finished()]
        return max(0, self._trials - len(finished))

    def seed_for(self, base: int) -> int:
        """A seed for the sampler of this process that differs for each worker, also after the study is continued.

        Args:
            base: the seed of the configuration.
        """
        return random.Random(f"{base} {self._worker}").randrange(2**32)

    def record(self) -> dict[str, Any]:
        """The content of ``study.json``: name, objective, constraints, search space, trials, importance of each parameter."""
        objective = self._study.user_attrs[DEFINITION]["objective"]
        return {
            "name": self.name,
            "objective": objective,
            "has_default": bool(self._study.user_attrs.get(DEFAULT)),
            "constraints": self.constraints,
            "space": self._study.user_attrs[DEFINITION]["space"],
            "trials": [_trial_record(trial) for trial in self._trials_so_far()],
            "importance": {name: self._importance(n) for n, name in enumerate(objective)},
            "importance_measure": importance_evaluator()[0],
        }

    @property
    def constraints(self) -> dict[str, float]:
        """The upper bounds that the best trial must not exceed, by metric."""
        fixed = self._study.user_attrs[DEFINITION]["fixed"]
        return {key.removeprefix("constraints."): bound for key, bound in fixed.items() if key.startswith("constraints.")}

    def write(self, folder: Path) -> None:
        """Write ``study.json`` in the folder of the study's runs."""
        write_atomically(folder / STUDY, json.dumps(self.record(), indent=1))

    def complete(self) -> str:
        """The message of a command that finds no trial to make."""
        return (
            f"study {self.name} already has its {format_count(self._trials, 'trial')}; continue it with "
            f"study.trials={2 * self._trials}, or start another one with study.name=..."
        )

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Wraps the sweep and turns two exceptions into clear messages.

        Raises:
            ValueError: all trials have failed or violate a constraint, so there is no best one, which Hydra's sweeper asks for
                at the end; or the connection to the storage was lost.
        """
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise ValueError(
                f"study {self.name}: the connection to its storage was lost ({reason}); run the same command again to continue"
            ) from error
        except ValueError as error:
            trials = self._trials_so_far()
            if self.constraints and "feasible" in str(error):
                bounds = " ".join(f"constraints.{name}={bound:g}" for name, bound in self.constraints.items())
                raise ValueError(f"study {self.name}: no trial keeps to {bounds}, so there is no best one") from error
            if not trials or any(map(_is_complete, trials)):
                raise
            count = format_count(len(trials), "trial")
            raise ValueError(f"study {self.name}: every trial has failed ({count}), for the reasons logged above") from error

    def _importance(self, objective: int) -> dict[str, float]:
        """Importance of each parameter for one objective, by :func:`importance_evaluator`; they sum to 1.

        Empty for fewer than four complete trials, or if all have the same value.
        """
        trials = [trial for trial in self._trials_so_far() if _is_complete(trial) and all(map(math.isfinite, trial.values))]
        if len(trials) < 4 or len({trial.values[objective] for trial in trials}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ExperimentalWarning
            study = optuna.create_study()
            study.add_trials([_single_objective_trial(trial, objective) for trial in trials])
            try:
                return {
                    key: float(part) for key, part in get_param_importances(study, evaluator=importance_evaluator()[1]).items()
                }
            except (ValueError, RuntimeError) as error:  # such as a single parameter
                log.debug("parameter importances can't be computed: %s", error)
                return {}

    def _trials_so_far(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def _single_objective_trial(trial: FrozenTrial, objective: int) -> FrozenTrial:
    """The trial with one of its objectives, and without the parameter that holds its number."""
    params = {name: param for name, param in trial.params.items() if name != TRIAL}
    space = {name: distribution for name, distribution in trial.distributions.items() if name != TRIAL}
    return optuna.trial.create_trial(value=trial.values[objective], params=params, distributions=space)


def _is_complete(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE


def _trial_record(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's entry in ``study.json``."""
    return {
        "number": trial.number,
        "state": "lost" if LOST in trial.user_attrs else STATES.get(trial.state, "pruned"),
        "params": {name: value for name, value in trial.params.items() if name != TRIAL},
        "values": trial.values,
        RUN_METRICS: trial.user_attrs.get(RUN_METRICS, []),
    }


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The changes between two definitions, the first six in words: ``epochs=1.0, not 3.0``."""
    found = []
    if then["objective"] != now["objective"]:
        found.append(f"objective={_format_value(then['objective'])}, not {_format_value(now['objective'])}")
    for part in ("space", "fixed"):
        before, after = then[part], now[part]
        changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
        found += [_difference(key, before, after) for key in changed]
    return found[:6] + ([f"{len(found) - 6} more"] if len(found) > 6 else [])


def _difference(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if key not in before:
        return f"no {key}={_format_value(after[key])}"
    if key not in after:
        return f"{key}={_format_value(before[key])}, which is missing now"
    return f"{key}={_format_value(before[key])}, not {_format_value(after[key])}"


def _format_value(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
