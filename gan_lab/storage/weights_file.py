"""A generator in a safetensors file: the weights under their names, and what sampling needs besides as metadata.

Unlike a checkpoint it has neither discriminator nor optimizers, and every safetensors reader can open it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from gan_lab.storage.files import check_is_file, write_atomically
from gan_lab.storage.json_records import parse_json
from gan_lab.version import __version__

KIND = "gan_lab generator"
"""Value of ``format`` in the metadata."""

LABELS = "labels.table"
"""Name of the tensor of labels, see :class:`gan_lab.models.labels.Labels`."""


def save_weights(path: Path, state: Mapping[str, Any]) -> None:
    """Write the entries ``generator_ema``, ``labels`` and ``images`` of a checkpoint.

    Raises:
        OSError: the file can't be written.
    """
    weights, labels = state["generator_ema"], state["labels"]
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in weights.items() if isinstance(value, torch.Tensor)
    }
    rest = {name: value for name, value in weights.items() if name not in tensors}
    if labels:
        tensors[LABELS] = labels["table"].contiguous()
    metadata = {
        "format": KIND,
        "version": __version__,
        "images": str(state["images"]),
        "classes": json.dumps(labels.get("names", [])),
        "other_state": json.dumps(rest),
    }
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def load_weights(path: Path) -> dict[str, Any]:
    """Read what :func:`save_weights` wrote, with the same entries.

    Raises:
        ValueError: the file is damaged or was not written by :func:`save_weights`.
    """
    tensors, metadata = _read(path)
    if metadata.get("format") != KIND:
        raise ValueError(f"{path} has no metadata of gan_lab: it is not a generator that gan_lab.export wrote")
    return _entries(path, tensors, metadata)


def read_weights(path: Path) -> dict[str, Any]:
    """The tensors of any safetensors file by name; of one that :func:`save_weights` wrote the same as :func:`load_weights`.

    Raises:
        ValueError: the file is damaged, or no safetensors file.
    """
    tensors, metadata = _read(path)
    return _entries(path, tensors, metadata) if metadata.get("format") == KIND else tensors


def _entries(path: Path, tensors: dict[str, torch.Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        return _read_metadata(tensors, metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its metadata are incomplete ({error!r})") from error


def _read_metadata(tensors: dict[str, torch.Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    table = tensors.pop(LABELS, None)
    labels = {} if table is None else {"names": parse_json(metadata["classes"]), "table": table}
    weights = {**tensors, **parse_json(metadata["other_state"])}
    return {"generator_ema": weights, "labels": labels, "images": int(metadata["images"])}


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    check_is_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no mapping
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error})") from error
