"""Configuration: with the commands, the only package that imports Hydra.

It imports neither torch nor anything that does, so that ``--help``, ``--cfg job`` and a mistyped key are answered at once.
"""

from gan_lab.config.allowed_values import odd_values
from gan_lab.config.argument_checks import check_used
from gan_lab.config.changes import Change, changes_from_default, configuration_values
from gan_lab.config.command import remove_empty_output_dir, run_command
from gan_lab.config.compose import flatten_config
from gan_lab.config.evaluation_config import open_evaluation, prepend_run_overrides
from gan_lab.config.export_experiment import export_experiment
from gan_lab.config.hydra_versions import hydra_main
from gan_lab.config.in_process import call_in_process
from gan_lab.config.instantiate import instantiate
from gan_lab.config.job import Job, compose_job, jobs_per_seed, open_job, option, write_config
from gan_lab.config.multirun_spec import MultirunSpec, SweepSpec, read_multirun
from gan_lab.config.plugins import register_plugin
from gan_lab.config.resume import prepend_resumed_overrides
from gan_lab.config.scheduled_values import scheduled_entries
from gan_lab.config.schema import CONF_DIR
from gan_lab.config.stored_config import format_choice, read_config

__all__ = [
    "CONF_DIR",
    "Change",
    "Job",
    "MultirunSpec",
    "SweepSpec",
    "call_in_process",
    "changes_from_default",
    "check_used",
    "compose_job",
    "configuration_values",
    "export_experiment",
    "flatten_config",
    "format_choice",
    "hydra_main",
    "instantiate",
    "jobs_per_seed",
    "odd_values",
    "open_evaluation",
    "open_job",
    "option",
    "prepend_resumed_overrides",
    "prepend_run_overrides",
    "read_config",
    "read_multirun",
    "register_plugin",
    "remove_empty_output_dir",
    "run_command",
    "scheduled_entries",
    "write_config",
]
