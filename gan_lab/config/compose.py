"""Hydra's ``compose``, inside and outside of a Hydra command, and questions about what was composed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.hydra_versions import initialize
from gan_lab.config.schema import CONF_DIR

BASE_CONFIG = "config"
"""The configuration whose defaults list names the groups; the benchmark's includes it."""


@contextmanager
def hydra_compose() -> Iterator[None]:
    """Let ``compose`` find ``conf/``; a running command gets its own Hydra back afterwards."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize():
            yield
    finally:
        GlobalHydra.instance().hydra = running


def is_group(key: str) -> bool:
    """Whether the key of an override names a group of options, such as ``model``."""
    return (CONF_DIR / key.partition("@")[0]).is_dir()


def group_choices(hydra: Any) -> dict[str, Any]:
    """The option of each group, or the list of options, which Hydra's ``runtime.choices`` leaves out.

    Args:
        hydra: the section ``hydra`` of a configuration that was composed just now.
    """
    choices = {str(name): choice for name, choice in hydra.runtime.choices.items() if "/" not in str(name)}
    loader = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(hydra.job.config_name, list(hydra.overrides.task), RunMode.RUN).defaults
    lists: dict[str, list[str]] = {}
    for default in defaults:
        group, _, chosen = (default.config_path or "").rpartition("/")
        if default.parent == BASE_CONFIG and group and "/" not in group and group not in choices:
            lists.setdefault(group, []).append(chosen)
    return choices | lists


def compose_options(overrides: Sequence[str], config: str) -> DictConfig:
    """Compose a configuration with only those overrides that choose options of groups; of a multirun, its first run."""
    options = [override for override in overrides if is_group(override.lstrip("+~").partition("=")[0])]
    return compose(config, overrides=[_first_choice(o) for o in OverridesParser.create().parse_overrides(options)])


def _first_choice(override: Override) -> str:
    if not override.is_sweep_override():
        return override.input_line or ""
    return f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"


def has_key(cfg: DictConfig, key: str) -> bool:
    """Whether a configuration has a dotted key, including one without a value (``???``)."""
    section, _, name = key.rpartition(".")
    parent: Any = OmegaConf.select(cfg, section) if section else cfg
    return OmegaConf.is_dict(parent) and name in list(parent.keys())  # `name in parent` is false for a missing value


def dotted_keys(cfg: Any, prefix: str = "") -> list[str]:
    """Dotted names of all sections and keys, without those that start with ``_``."""
    names: list[str] = []
    for key in cfg:
        name = f"{prefix}{key}"
        names.append(name)
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key) and OmegaConf.is_dict(cfg[key]):
            names += dotted_keys(cfg[key], f"{name}.")
    return [name for name in names if not name.rpartition(".")[2].startswith("_")]


def flatten_config(cfg: Any, prefix: str = "") -> dict[str, Any]:
    """Resolved values by dotted key; lists count as values."""
    plain = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
    if not isinstance(plain, Mapping) or not plain:
        return {prefix: plain}
    return {k: v for key, value in plain.items() for k, v in flatten_config(value, f"{prefix}.{key!s}".lstrip(".")).items()}
