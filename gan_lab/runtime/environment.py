"""Facts about a run for ``summary.json``: progress, speed, versions, hardware and commit."""

from __future__ import annotations

import functools
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan_lab.utils.formatting import format_count
from gan_lab.version import __version__


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def training_progress(images: int, images_per_epoch: int, seconds: float) -> dict[str, Any]:
    """Progress and speed of a run.

    Args:
        images: real images that the run has been trained on.
        images_per_epoch: size of the dataset.
        seconds: training time.
    """
    epochs = images / images_per_epoch
    return {
        "images": images,
        "epochs": epochs,
        "seconds": seconds,
        "epoch_seconds": seconds / epochs if epochs else None,
        "images_per_second": images / seconds if seconds else None,
    }


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, the device, and the commit of the code if it runs from a git checkout."""
    return {
        "versions": {"gan_lab": __version__, "python": platform.python_version(), "torch": torch.__version__},
        "git_commit": git_commit(),
        "device": describe_device(device),
    }


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {format_count(torch.get_num_threads(), 'thread')}"


@functools.cache
def git_commit() -> str | None:
    """The checkout's commit at the first call, followed by ``+`` if tracked files are modified; None outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
