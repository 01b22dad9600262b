"""Hydra's ``compose``, inside and outside of a Hydra command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from gan_lab.config.schema import CONF_DIR

BASE_CONFIG = "config"
"""The configuration whose defaults list names the groups; the benchmark's includes it."""


@contextmanager
def hydra_compose() -> Iterator[None]:
    """Let ``compose`` find ``conf/``; a running command gets its own Hydra back afterwards."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running
