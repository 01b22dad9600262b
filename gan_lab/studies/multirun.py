"""Several runs by one command: what is seen to before the first, around each, and after the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gan_lab.config import Job, MultirunSpec, SweepSpec, export_experiment, instantiate, read_multirun
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import PRUNED, RunDirectory
from gan_lab.sweeps.objective import Objective

if TYPE_CHECKING:
    from gan_lab.sweeps.optuna_study import OptunaStudy
    from gan_lab.sweeps.optuna_trial import OptunaTrial


class Multirun:
    """Around a command that Hydra may run many times; of a single run it does nothing.

    Args:
        command: the ``hydra.main`` function.
    """

    def __init__(self, command: Callable[[], Any]) -> None:
        self._command = command
        self._several: MultirunSpec | None = None
        self._study: OptunaStudy | None = None

    def begin(self, arguments: Sequence[str]) -> list[str]:
        """The command line for Hydra, once all that can be known to be wrong is known not to be.

        Raises:
            ValueError: what would fail at the first trial, or at each.
        """
        self._several = read_multirun(arguments)
        if self._several is None:
            return list(arguments)
        if (search := self._several.search) is None:
            return self._several.arguments
        self._study = open_study(search)
        more = [f"hydra.sweeper.n_trials={self._study.missing}", f"study.trials={search.trials}"]
        if search.takes_seed:
            seed = search.cfg.seed if search.seed is None else search.seed
            more.append(f"hydra.sweeper.sampler.seed={self._study.seed_for(seed)}")
        return [*self._several.arguments, *more]

    def __call__(self) -> None:
        """Run what is to be run, and write the page about it whatever happens."""
        if self._several is None:
            self._command()
            return
        try:
            if self._study is None:
                self._command()
            elif self._study.missing:
                from gan_lab.sweeps.study_storage import StudyComplete

                with suppress(StudyComplete), self._study.explain_errors():  # another worker has brought the last trial
                    self._command()
            else:
                from gan_lab.utils.terminal import STDOUT

                STDOUT.print(self._study.complete())
        finally:
            self._end(self._several.folder)

    def _end(self, folder: Path) -> None:
        if self._study is not None:
            with self._study.explain_errors():
                self._study.write(folder)
        with suppress(ValueError):  # no run has come so far
            write_study_outputs(folder)


def write_study_outputs(folder: Path, baseline: str | None = None) -> None:
    """Write a study's page, its tables and its best configuration; say on the console what came of it.

    Raises:
        ValueError: there is no run, or none of that name.
    """
    from gan_lab.reporting.study_page import BEST, StudyReport, conclusions, write_study
    from gan_lab.reporting.study_table import rows
    from gan_lab.utils.terminal import print_table

    study = StudyReport.read(folder, baseline)
    best = study.best
    if best is not None and (directory := best.records[0].directory) is not None:
        about = f"{best.title}, the best of {folder}: {best.score_name} {best.format('score', 'score_ci95')}"
        write_atomically(folder / BEST, export_experiment(directory, about))
    page = write_study(study)
    print_table(*rows(study.groups), [*conclusions(study), str(page)])


def open_study(search: SweepSpec) -> OptunaStudy:
    """Make or find the study of a sweep.

    Raises:
        ValueError: what is to be minimised is never logged, the storage can't be reached, or the study was begun otherwise.
    """
    from gan_lab.building.tasks import primary_score_name
    from gan_lab.sweeps.optuna_study import OptunaStudy, StudyDefinition

    cfg = search.cfg
    objective = Objective(search.objective)
    objective.check(primary_score_name(cfg))
    if prunes(cfg):
        objective.check_prunable()
    instantiate(cfg.pruner, "pruner")
    terms = StudyDefinition(search.objective, search.space, search.fixed)
    return OptunaStudy(cfg.study.name, cfg.study.storage, search.trials, cfg.study.heartbeat, terms, search.default)


def prunes(cfg: DictConfig) -> bool:
    return "_target_" in cfg.pruner


class NoTrial:
    """Of a run that belongs to no sweep: nobody asks."""

    watch: Callable[[Any], None] | None = None

    def save_run_metrics(self, directories: Sequence[RunDirectory]) -> None:
        """Nobody keeps anything."""


class SweepTrial:
    """A job's trial, as its runs meet it.

    Args:
        trial: of the study.
        prunes: whether it may be ended.
    """

    def __init__(self, trial: OptunaTrial, prunes: bool) -> None:
        self._trial = trial
        self.watch: Callable[[Any], None] | None = self._watch if prunes else None

    def _watch(self, trainer: Any) -> None:
        from gan_lab.training.checks import PruningCheck

        trainer.monitor.add(PRUNED, PruningCheck(self._trial.should_prune, trainer.progress.total_images))

    def save_run_metrics(self, directories: Sequence[RunDirectory]) -> None:
        """Tell the study of the runs, for whoever has no look into this machine's folders."""
        from gan_lab.reporting.run_records import run_metrics

        self._trial.save_run_metrics([run_metrics(directory) for directory in directories])


@contextmanager
def trial_of(job: Job) -> Iterator[NoTrial | SweepTrial]:
    """The trial a job was made for; one that is interrupted may be tried again by others at once."""
    cfg = job.cfg
    if cfg.study.trial is None or job.resumed:
        yield NoTrial()
        return
    from gan_lab.sweeps.optuna_trial import open_trial

    pruner = instantiate(cfg.pruner, "pruner") if prunes(cfg) else None
    trial = open_trial(cfg.study.storage, cfg.study.name, cfg.study.trial, cfg.study.trials, cfg.study.heartbeat, pruner)
    try:
        yield SweepTrial(trial, pruner is not None)
    except (KeyboardInterrupt, SystemExit):
        trial.mark_lost()
        raise
