"""Hydra's Optuna sweeper with the storage that the workers of a study share.

It is here because Hydra accepts plugins of the package ``hydra_plugins`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
from omegaconf import DictConfig

GIVES_UP = {"hydra_submitit_launcher": True, "hydra_joblib_launcher": False}
"""Packages of launchers that raise an exception when a process is killed, and whether other jobs of the call may then go on."""


class StudySweeper(OptunaSweeper):
    """Creates the storage itself, because the sweeper of Hydra 1.4 takes no ``_target_`` as its storage.

    Args:
        storage: the arguments of :class:`gan_lab.sweeps.study_storage.StudyStorage`.
        arguments: the other arguments of ``OptunaSweeper``, which are the keys of ``hydra.sweeper``.

    Raises:
        ValueError: see :class:`gan_lab.sweeps.study_storage.StudyStorage`.
    """

    def __init__(self, storage: Mapping[str, Any], **arguments: Any) -> None:
        from gan_lab.sweeps.study_storage import StudyStorage  # imports Optuna, and Hydra imports every plugin at its start

        self._study_storage, self._study_name = StudyStorage(**storage), arguments["study_name"]
        super().__init__(storage=self._study_storage, **arguments)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up the launcher, which repeats the jobs of killed processes if it does not do so by itself."""
        from hydra_plugins.gan_lab_sweeper._repeating_launcher import RepeatingLauncher

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        launcher: Any = self.sweeper.launcher
        package = type(launcher).__module__.split(".")[1]
        if package in GIVES_UP:
            repeating: Any = RepeatingLauncher(launcher, self._study_storage, self._study_name, apart=GIVES_UP[package])
            self.sweeper.launcher = repeating
