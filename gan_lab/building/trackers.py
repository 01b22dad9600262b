"""Builds the trackers of a run."""

from __future__ import annotations

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.tracking import Trackers
from gan_lab.tracking.console import Console
from gan_lab.tracking.files import Files


def build_trackers(cfg: DictConfig, processes: SingleProcess) -> Trackers:
    """The main process gets files, console and the configured trackers; other processes have no trackers."""
    if not processes.is_main_process:
        return Trackers({})
    chosen = {name: instantiate(node, f"tracker.{name}") for name, node in cfg.tracker.items() if node is not None}
    return Trackers(
        {"files": Files(), "console": Console(cfg.console, cfg.get("preview", False)), **chosen}, essential=["files"]
    )
