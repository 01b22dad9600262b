"""The formats of ``gan_lab.export``, by the ending of the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from gan_lab.exporting.hub_folder import export_folder
from gan_lab.exporting.programs import export_onnx, export_program
from gan_lab.runs.run import Run
from gan_lab.storage.weights_file import save_weights


def export_weights(run: Run, path: Path) -> str:
    """Write the weights, and beside them the run's configuration, as ``<name>.yaml``.

    Returns:
        What was written.
    """
    save_weights(path, run.state())
    shutil.copyfile(run.directory.config, path.with_suffix(".yaml"))
    return f"{sum(value.numel() for value in run.generator.parameters()):,} weights; configuration: {path.with_suffix('.yaml')}"


FORMATS: dict[str, Callable[[Run, Path], str]] = {
    ".safetensors": export_weights,
    ".onnx": export_onnx,
    ".pt2": export_program,
    "": export_folder,
}
"""Functions ``(run, path) -> what was written``; without an ending, ``path`` is a folder."""


def find_format(path: Path) -> Callable[[Run, Path], str]:
    """The function for a path.

    Raises:
        ValueError: it has another ending.
    """
    ending = "" if path.is_dir() else path.suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"out={path}: must end in {', '.join(filter(None, FORMATS))}, or be a folder, without an ending")
    return FORMATS[ending]
