"""What differs between Hydra 1.3 with OmegaConf 2.3 and Hydra 1.4 with OmegaConf 2.4; all else is written for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import hydra
import hydra.utils
from omegaconf import OmegaConf

from gan_lab.config.schema import CONF_DIR

COMMAND_TARGETS = ("gan_lab.", "optuna.", "hydra.", "hydra_plugins.", "logging.")
"""Prefixes of what Hydra itself constructs for a command: log handlers, launchers, sweepers and samplers."""

_allow: Callable[..., Any] | None = getattr(hydra.utils, "execution_whitelist", None)
"""Sets the list of allowed targets of Hydra 1.4, which warns where there is none; None for Hydra 1.3, which has no list."""

_base: dict[str, Any] = {"version_base": "1.3"} if _allow is None else {}
"""Hydra 1.3 behaves as 1.1 did without this argument; Hydra 1.4 warns of it."""


def hydra_main(config: str) -> Callable[[Callable[[Any], Any]], Any]:
    """``hydra.main`` for a command.

    Args:
        config: name of its configuration in ``conf/``.
    """
    return hydra.main(config_path=str(CONF_DIR), config_name=config, **_base)


def initialize() -> AbstractContextManager[Any]:
    """Within the block, ``hydra.compose`` reads ``conf/``."""
    return hydra.initialize_config_dir(str(CONF_DIR), **_base)


def allowing_targets(prefixes: Sequence[str]) -> AbstractContextManager[Any]:
    """Within the block, Hydra 1.4 constructs and calls only what has one of these prefixes. Nothing changes with Hydra 1.3.

    Args:
        prefixes: beginnings of dotted names, each of which ends with a dot.
    """
    return nullcontext() if _allow is None else _allow([f"{prefix}*" for prefix in prefixes], reset=True)


def register_resolver(name: str, function: Callable[..., Any], use_cache: bool = False) -> None:
    """Let ``${name:...}`` call a function.

    Args:
        name: of the resolver.
        function: takes the arguments after the colon.
        use_cache: whether a configuration keeps the first value that the function returns.
    """
    # OmegaConf 2.3 has a method register_resolver too, an older one without replace=
    register: Any = OmegaConf.register_new_resolver if _allow is None else OmegaConf.register_resolver
    register(name, function, replace=True, use_cache=use_cache)
