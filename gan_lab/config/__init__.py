"""Configuration: the only room, with the commands, that knows Hydra.

Imports neither torch nor the rest of the package, so that ``--help``, ``--cfg job`` and a misspelt key answer at once.
"""

from gan_lab.config.command import leaving_nothing_empty, run_command
from gan_lab.config.export_experiment import as_experiment
from gan_lab.config.instantiate import instantiate
from gan_lab.config.job import (
    Job,
    of_each_seed,
    open_evaluation,
    open_job,
    option,
    read_config,
    with_overrides_of_run,
    with_stored_overrides,
    write_config,
)
from gan_lab.config.multirun_spec import Search, Several, read_several
from gan_lab.config.schema import CONF_DIR

__all__ = [
    "CONF_DIR",
    "Job",
    "Search",
    "Several",
    "as_experiment",
    "instantiate",
    "leaving_nothing_empty",
    "of_each_seed",
    "open_evaluation",
    "open_job",
    "option",
    "read_config",
    "read_several",
    "run_command",
    "with_overrides_of_run",
    "with_stored_overrides",
    "write_config",
]
