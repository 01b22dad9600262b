"""Exports a run's configuration as a file for ``conf/experiment``."""

from __future__ import annotations

import copy

from hydra import compose
from omegaconf import OmegaConf

from gan_lab.config.compose import BASE_CONFIG, flatten_config, hydra_compose
from gan_lab.config.resolve import resolve_and_validate
from gan_lab.config.schema import CONF_DIR
from gan_lab.config.stored_config import format_choice, read_config
from gan_lab.storage.run_directory import RunDirectory

NOT_TRAINED = (
    "version",
    "choices",
    "overrides",
    "study",
    "objective",
    "constraints",
    "seed",
    "seeds",
    "paths",
    "console",
    "preview",
    "plan",
    "tracker",
    "device",
)
"""Keys of a run's configuration that don't affect what is trained."""


NOT_CHOICES = ("sweep", "experiment", "debug", "tracker")
"""Groups whose options are not exported; values that they change are exported one by one."""


def export_experiment(directory: RunDirectory, about: str) -> str:
    """The text of an experiment file: the options of a run's groups, and all values that differ from those of the options.

    Args:
        directory: the run directory.
        about: one-line description, for the comment in the first line.
    """
    stored = read_config(directory)
    chosen = {str(g): choice for g, choice in stored.choices.items() if choice is not None and g not in NOT_CHOICES}
    wanted = flatten_config(OmegaConf.masked_copy(stored, [str(key) for key in stored if key not in NOT_TRAINED]))
    with hydra_compose():
        config = compose(BASE_CONFIG, overrides=[f"{group}={format_choice(choice)}" for group, choice in chosen.items()])
    values = OmegaConf.create()
    for depth in range(max(key.count(".") for key in wanted) + 1):  # referenced keys before keys that refer to them
        settled = flatten_config(resolve_and_validate(copy.deepcopy(config), ()))
        for key, value in wanted.items():
            if key.count(".") == depth and (key not in settled or settled[key] != value):
                OmegaConf.update(values, key, value, force_add=True)
                OmegaConf.update(config, key, value, force_add=True)
    defaults = OmegaConf.load(CONF_DIR / f"{BASE_CONFIG}.yaml").defaults
    usual = {
        group: format_choice(option) for default in defaults if OmegaConf.is_dict(default) for group, option in default.items()
    }
    options = [
        f"  - override /{group}: {format_choice(choice)}"
        for group, choice in chosen.items()
        if usual[group] != format_choice(choice)
    ]
    lines = ["# @package _global_", f"# {about}", *(["defaults:", *options, "  - _self_"] if options else [])]
    return "\n".join(lines) + "\n" + (OmegaConf.to_yaml(values) if values else "")
