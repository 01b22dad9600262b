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
    """Write the weights, and beside them the run's configuration, see :func:`written_files`.

    Returns:
        What was written.
    """
    _, configuration = written_files(path)
    save_weights(path, run.state())
    shutil.copyfile(run.directory.config, configuration)
    return f"{sum(value.numel() for value in run.generator.parameters()):,} weights; configuration: {configuration}"


FORMATS: dict[str, Callable[[Run, Path], str]] = {
    ".safetensors": export_weights,
    ".onnx": export_onnx,
    ".pt2": export_program,
    "": export_folder,
}
"""Functions ``(run, path) -> what was written``; without an ending, ``path`` is a folder."""


def written_files(path: Path) -> list[Path]:
    """What an export writes: ``path``, and beside a safetensors file the configuration, ``<name>.yaml``."""
    return [path, path.with_suffix(".yaml")] if path.suffix.lower() == ".safetensors" else [path]


def find_format(path: Path) -> Callable[[Run, Path], str]:
    """The function for a path.

    Raises:
        ValueError: it has another ending.
    """
    ending = "" if path.is_dir() else path.suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"out={path}: must end in {', '.join(filter(None, FORMATS))}, or be a folder, without an ending")
    return FORMATS[ending]
