"""Checkpoints: written whole or not at all, read without running what they contain."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan_lab.storage.files import write_atomically

FORMAT = 6
"""Increased whenever entries change their names or meaning."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` in one step."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, buffer.getvalue())


def is_finite(*networks: nn.Module) -> bool:
    """Whether every weight is a finite number; waits for the device."""
    norms = torch._foreach_norm([parameter.detach() for network in networks for parameter in network.parameters()])
    return bool(torch.stack(norms).isfinite().all())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; whoever loads a state moves it to where it belongs.

    Raises:
        ValueError: it is missing, damaged, or of a format this version does not know.
        OSError: it may not be read.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    path.open("rb").close()
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch.load does not look at the checksums it wrote
                raise ValueError(f"checksum of {damaged} differs")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is damaged or no checkpoint of gan_lab ({reason[:200]})") from error
    if not isinstance(state, dict) or "format" not in state:
        raise ValueError(f"{path} is not a checkpoint of gan_lab")
    if state["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {state['format']}; this version of gan_lab reads format {FORMAT} only. Use the version that "
            "wrote it (gan_lab 0.1 wrote format 5), or train anew"
        )
    return state


def random_state(device: torch.device, latents: torch.Generator) -> dict[str, Any]:
    """Of every random number generator a step on ``device`` may draw from, one of the training's ``latents`` among them."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "python": random.getstate(),
        "latents": {device.type: latents.get_state()},
    }


def restore_random_state(state: dict[str, Any], device: torch.device, latents: torch.Generator) -> None:
    """A run that moves to a GPU starts that one's generators from the seed."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    if (known := state["latents"].get(device.type)) is not None:
        latents.set_state(known)
    random.setstate(state["python"])
