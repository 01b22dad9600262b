"""Hydra's Optuna sweeper with the storage that the workers of a study share.

It is here because Hydra accepts plugins of the package ``hydra_plugins`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper


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

        super().__init__(storage=StudyStorage(**storage), **arguments)
