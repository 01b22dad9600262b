"""Configuration: the only room, with the commands, that knows Hydra.

Imports neither torch nor the rest of the package, so that ``--help``, ``--cfg job`` and a misspelt key answer at once.
"""

from gan_lab.config.command import leaving_nothing_empty, run_command
from gan_lab.config.instantiate import instantiate
from gan_lab.config.job import (
    Job,
    open_evaluation,
    open_job,
    option,
    read_config,
    with_overrides_of_run,
    with_stored_overrides,
    write_config,
)
from gan_lab.config.schema import CONF_DIR

__all__ = [
    "CONF_DIR",
    "Job",
    "instantiate",
    "leaving_nothing_empty",
    "open_evaluation",
    "open_job",
    "option",
    "read_config",
    "run_command",
    "with_overrides_of_run",
    "with_stored_overrides",
    "write_config",
]
