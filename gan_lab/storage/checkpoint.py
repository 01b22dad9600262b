"""Checkpoint files: written atomically, read without running code they may contain.

What they contain is documented in :mod:`gan_lab.training.checkpointer`.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import torch

from gan_lab.storage.files import atomic_file
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.storage.safe_load import load_tensors

FORMAT = 7
"""Version of the layout; increased whenever an entry changes its name or meaning."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``, with the format's version, to ``path`` in one step.

    Raises:
        OSError: the file can't be written, for example because the disk is full.
    """
    with atomic_file(path) as handle:
        try:
            torch.save({"format": FORMAT, **state}, handle)
        except RuntimeError as error:  # of the archive's end, which hides that a write before it has failed
            cause = error.__context__
            raise (cause if isinstance(cause, OSError) else error) from None


def shift_newest(directory: RunDirectory, keep: int) -> None:
    """Keep ``last.pt`` as ``last-1.pt``, that one as ``last-2.pt`` and so on, before a new ``last.pt`` is written.

    ``last.pt`` stays where it is: there is a complete one at any time, whenever the process should be killed.

    Args:
        directory: of the run.
        keep: how many there will be with the new one; older ones are removed.
    """
    names = ["last", *(f"last-{n}" for n in range(1, keep))]
    for newer, older in zip(names[-2:0:-1], names[:1:-1], strict=True):
        if directory.checkpoint(newer).is_file():
            directory.checkpoint(newer).replace(directory.checkpoint(older))
    if keep > 1 and directory.checkpoint("last").is_file():
        _link(directory.checkpoint("last"), directory.checkpoint("last-1"))
    for name in directory.existing_checkpoints():
        if name.startswith("last") and name not in names:
            directory.checkpoint(name).unlink()


def _link(source: Path, target: Path) -> None:
    """Make ``target`` the same file, or on a file system without hard links a copy of it."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as original, atomic_file(target) as copy:
            shutil.copyfileobj(original, copy)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        ValueError: the checkpoint is missing or damaged, or has a format that this version does not read.
        OSError: there is no permission to read it.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    path.open("rb").close()  # a missing permission is not damage
    state = load_tensors(path, "no checkpoint of gan_lab", verify_checksums=True)
    if not isinstance(state, dict) or "format" not in state:
        raise ValueError(f"{path} is not a checkpoint of gan_lab")
    if state["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {state['format']}; this version of gan_lab reads format {FORMAT} only. Use the version that "
            "wrote it (gan_lab 0.1 wrote format 5), or train again"
        )
    return state


def load_of_run(directory: RunDirectory, name: str) -> dict[str, Any]:
    """Read a checkpoint of a run.

    Raises:
        ValueError: as of :func:`load`; the message lists the run's other checkpoints that can be read.
        OSError: there is no permission to read it.
    """
    try:
        return load(directory.checkpoint(name))
    except ValueError as error:
        others = [other for other in directory.existing_checkpoints() if other != name and is_readable(directory, other)]
        raise ValueError(f"{error}; the run has {', '.join(others)}" if others else str(error)) from error


def is_readable(directory: RunDirectory, name: str) -> bool:
    """Whether a checkpoint of a run is complete; reads it."""
    try:
        load(directory.checkpoint(name))
    except (ValueError, OSError):
        return False
    return True


def random_state(device: torch.device, latents: torch.Generator) -> dict[str, Any]:
    """The states of all random number generators that a training step on ``device`` may draw from.

    Args:
        device: of the networks.
        latents: the training's own generator of latents.
    """
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "latents": {device.type: latents.get_state()},
    }


def restore_random_state(state: dict[str, Any], device: torch.device, latents: torch.Generator) -> None:
    """Restore what :func:`random_state` returned. Generators of a device the run did not use keep their seed."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    if (stored := state["latents"].get(device.type)) is not None:
        latents.set_state(stored)
    random.setstate(state["python"])
