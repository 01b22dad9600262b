"""Plugins of Hydra that gan_lab brings along in ``hydra_plugins``."""

from __future__ import annotations

from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin


def register_plugin(plugin: type[Plugin]) -> None:
    """Let a configuration name a plugin; Hydra 1.3 does not find it itself after ``pip install --editable``."""
    Plugins.instance().register(plugin)
