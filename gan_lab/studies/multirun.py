"""Several runs from one command: checks before the first run, the trial of each run, and the study's page at the end."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig, OmegaConf

from gan_lab.config import (
    Job,
    MultirunSpec,
    SweepSpec,
    export_experiment,
    instantiate,
    read_config,
    read_multirun,
    register_plugin,
)
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import COMPLETED, PRUNED, RunDirectory
from gan_lab.studies.run_clock import CLOCK
from gan_lab.sweeps.objective import Objective
from gan_lab.utils.formatting import format_count

log = logging.getLogger(__name__)

CONSTRAINTS_FUNC = "{_target_:gan_lab.sweeps.constraints.StoredViolations,url:${study.storage}}"
"""What samplers that take constraints call, as an override."""

ARTIFACTS = "artifacts"
"""Folder in a study's folder with the pictures that optuna-dashboard shows."""

if TYPE_CHECKING:
    from gan_lab.sweeps.constraints import Constraints
    from gan_lab.sweeps.optuna_study import OptunaStudy
    from gan_lab.sweeps.optuna_trial import OptunaTrial


class Multirun:
    """Wraps a command that Hydra calls for each run; for a single run it only calls the command.

    Args:
        command: the ``hydra.main`` function.
    """

    def __init__(self, command: Callable[[], Any]) -> None:
        self._command = command
        self._spec: MultirunSpec | None = None
        self._study: OptunaStudy | None = None

    def begin(self, arguments: Sequence[str]) -> list[str]:
        """Check the command line, and open the study of a sweep.

        Returns:
            The command line for Hydra.

        Raises:
            ValueError: a run would fail, the study can't be opened, or its trials would not be comparable.
        """
        self._spec = read_multirun(arguments)
        if self._spec is None:
            return list(arguments)
        if (search := self._spec.search) is None:
            CLOCK.total = self._spec.runs
            return self._spec.arguments
        from gan_lab.utils.terminal import STDOUT

        self._study = open_study(search)
        if search.outside and self._study.missing == search.trials:
            STDOUT.print(
                f"no trial has the configuration's own values, because the search space does not include "
                f"{', '.join(search.outside)}"
            )
        overrides = [f"hydra.sweeper.n_trials={self._study.missing}", f"study.trials={search.trials}"]
        if search.takes_seed:
            seed = search.cfg.seed if search.seed is None else search.seed
            overrides.append(f"hydra.sweeper.sampler.seed={self._study.seed_for(seed)}")
        if search.cfg.constraints and search.takes_constraints:
            overrides.append(f"hydra.sweeper.sampler.constraints_func={CONSTRAINTS_FUNC}")
        elif search.cfg.constraints:
            STDOUT.print("the sampler does not look at constraints; they only decide which trial is the best")
        return [*self._spec.arguments, *overrides]

    def __call__(self) -> None:
        """Run the command; afterwards write the study's page, also after an exception."""
        if self._spec is None:
            self._command()
            return
        try:
            if self._study is None:
                self._command()
            elif self._study.missing:
                from gan_lab.sweeps.study_storage import StudyComplete

                with suppress(StudyComplete), self._study.explain_errors():  # other workers make the last trials
                    self._command()
            else:
                from gan_lab.utils.terminal import STDOUT

                STDOUT.print(self._study.complete())
        finally:
            self._write_outputs(self._spec.folder)

    def _write_outputs(self, folder: Path) -> None:
        if self._study is not None:
            with self._study.explain_errors():
                self._study.write(folder)
        try:
            with suppress(ValueError):  # no run has started
                write_study_outputs(folder)
        except Exception as error:  # the runs are complete without it
            log.warning("the study's page can't be written: %s", error)


def write_study_outputs(folder: Path, baseline: str | None = None) -> None:
    """Write a study's page, tables and best configuration, and print the table and the conclusions.

    Args:
        folder: the folder of a multirun.
        baseline: label of the configuration that the others are compared with; None: see :meth:`StudyReport.read`.

    Raises:
        ValueError: there is no run, or no configuration has that label.
    """
    from gan_lab.reporting.study_page import BEST, StudyReport, conclusions, write_study
    from gan_lab.reporting.study_table import rows
    from gan_lab.utils.terminal import print_table

    study = StudyReport.read(folder, baseline)
    best = study.best
    if best is not None and (directory := best.records[0].directory) is not None:
        comment = f"the best configuration of {folder}: {best.describe(study.first_objective)}"
        write_atomically(folder / BEST, export_experiment(directory, comment))
    page = write_study(study)
    print_table(*rows(study.groups), [*conclusions(study), str(page)])


def open_study(search: SweepSpec) -> OptunaStudy:
    """Create or continue the study of a sweep.

    Raises:
        ValueError: the objective will not be measured, the pruner can't be used, the storage can't be reached, or the study was
            started with another definition.
    """
    from gan_lab.building.tasks import primary_score_name
    from gan_lab.sweeps.constraints import Constraints
    from gan_lab.sweeps.optuna_study import OptunaStudy, StudyDefinition
    from gan_lab.sweeps.pruners import SeedPruner
    from hydra_plugins.gan_lab_sweeper import StudySweeper

    register_plugin(StudySweeper)
    cfg = search.cfg
    objective = Objective(search.objective)
    objective.check(score := primary_score_name(cfg))
    Constraints(cfg.constraints).check(score)
    if has_pruner(cfg):
        objective.check_prunable()
    if isinstance(pruner := instantiate(cfg.pruner, "pruner"), SeedPruner):
        pruner.check_seeds(cfg.seeds)
    definition = StudyDefinition(search.objective, search.space, search.fixed)
    return OptunaStudy(cfg.study.name, cfg.study.storage, search.trials, cfg.study.heartbeat, definition, search.default)


def has_pruner(cfg: DictConfig) -> bool:
    """Whether the configuration has a pruner."""
    return "_target_" in cfg.pruner


class NoTrial:
    """Stands for the trial of a run that is not part of a sweep."""

    watch: Callable[[Any], None] | None = None
    position: int | None = None

    def begin(self, directory: RunDirectory) -> None:
        """None: the run is new, and a run directory that holds one is refused."""

    def ends_after(self, seed: int, summary: Mapping[str, Any] | None, objective: Objective | None) -> bool:
        """False: every seed is trained."""
        return False

    def save_results(self, directories: Sequence[RunDirectory]) -> None:
        """Does nothing."""

    def end(self, values: float | tuple[float, ...] | None, summaries: Sequence[Mapping[str, Any] | None]) -> None:
        """Does nothing."""


class SweepTrial:
    """The trial of a job.

    Args:
        trial: the trial in the study.
        prunes: what a pruner may end: the ``training`` of the first seed, or the trial after any of its ``seeds``; None:
            nothing.
        artifacts: folder of the study's artifacts.
        constraints: of the sweep.

    Attributes:
        watch: adds the pruner to a trainer's checks; None without a pruner of trainings.
        position: its number among the trials of the study that are not lost, counted from 1.
    """

    def __init__(
        self, trial: OptunaTrial, prunes: Literal["training", "seeds"] | None, artifacts: Path, constraints: Constraints
    ) -> None:
        self._trial = trial
        self._constraints = constraints
        self._prunes_seeds = prunes == "seeds"
        self._artifacts = artifacts
        self.watch: Callable[[Any], None] | None = self._watch if prunes == "training" else None
        self.position: int | None = trial.position

    def _watch(self, trainer: Any) -> None:
        from gan_lab.training.checks import PruningCheck

        trainer.monitor.add(PRUNED, PruningCheck(self._trial.should_prune, trainer.progress.total_images))

    def begin(self, directory: RunDirectory) -> dict[str, Any] | None:
        """Deal with what this trial has left in a run directory, if its worker died and the job is repeated there.

        A run of another trial, or one that is older than the trial, stays, and is refused later.

        Returns:
            The summary of the run, if it had ended. None: the run is to be trained; what was left of it is removed.

        Raises:
            ValueError: a process is training there.
        """
        if not directory.config.is_file() or directory.config.stat().st_mtime < self._trial.begun:
            return None
        if OmegaConf.select(read_config(directory), "study.trial") != self._trial.number:
            return None
        with directory.lock():
            if (summary := directory.read_summary()).get("status") in COMPLETED:
                log.warning("%s: the worker of this trial died after this run", directory.path)
                return summary
            log.warning("%s: the worker of this trial died; the run begins again", directory.path)
            directory.clear()
        return None

    def ends_after(self, seed: int, summary: Mapping[str, Any] | None, objective: Objective | None) -> bool:
        """Report the result of a seed; returns whether the pruner leaves out the seeds after it.

        Args:
            seed: its number, counted from 0.
            summary: of its run; None if it diverged.
            objective: the values that the sweep minimizes.
        """
        if not self._prunes_seeds or objective is None:
            return False
        value = objective([summary])
        assert isinstance(value, float), "pruners need a single objective"
        if not self._trial.should_prune(value, seed):
            return False
        log.info("this trial is worse than the best one over %s; further seeds are left out", format_count(seed + 1, "seed"))
        return True

    def save_results(self, directories: Sequence[RunDirectory]) -> None:
        """Store the metrics and pictures of the runs in the study.

        The metrics are for the pages that workers on other machines write, the pictures for optuna-dashboard.
        """
        from gan_lab.reporting.run_records import run_metrics

        self._trial.save_run_metrics([run_metrics(directory) for directory in directories])
        self._trial.attach_pictures([directory.final for directory in directories], self._artifacts)

    def end(self, values: float | tuple[float, ...] | None, summaries: Sequence[Mapping[str, Any] | None]) -> None:
        """Store the values that the sweep minimizes, and by how much the runs' summaries exceed its constraints."""
        if values is not None:
            violations = self._constraints.violations(summaries)
            self._trial.store_values(values if isinstance(values, tuple) else [values], violations)


@contextmanager
def trial_of(job: Job) -> Iterator[NoTrial | SweepTrial]:
    """The trial of a job; if it is interrupted, it is marked as lost so that another worker can repeat it.

    Raises:
        ValueError: the trial has ended, because its worker was taken for dead.
    """
    cfg = job.cfg
    if cfg.study.trial is None or job.resumed:
        yield NoTrial()
        return
    from gan_lab.sweeps.constraints import Constraints
    from gan_lab.sweeps.optuna_trial import open_trial
    from gan_lab.sweeps.pruners import SeedPruner

    assert job.folder is not None, "a trial is a run of a multirun"
    pruner = instantiate(cfg.pruner, "pruner") if has_pruner(cfg) else None
    prunes: Literal["training", "seeds"] | None = (
        None if pruner is None else "seeds" if isinstance(pruner, SeedPruner) else "training"
    )
    trial = open_trial(cfg.study.storage, cfg.study.name, cfg.study.trial, cfg.study.trials, cfg.study.heartbeat, pruner)
    if trial.begun == math.inf:
        raise ValueError(f"study.trial={trial.number}: this trial has ended; its worker was taken for dead")
    try:
        with trial.job():
            yield SweepTrial(trial, prunes, job.folder / ARTIFACTS, Constraints(cfg.constraints))
    except (KeyboardInterrupt, SystemExit):
        trial.mark_lost()
        raise
    except Exception as error:
        trial.store_error(str(error))
        raise
