"""Exports a generator as a program: ONNX, or PyTorch's own exported program."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.exporting.standalone import inputs, standalone
from gan_lab.runs.run import Run
from gan_lab.storage.files import write_atomically
from gan_lab.version import __version__

TOLERANCE = 2e-3
"""Largest accepted difference between an exported program's pixel values and PyTorch's, in [0, 1]; half a level of 8 bits."""

CHECKED_BATCHES = (1, 3)


def export_program(run: Run, path: Path) -> str:
    """Write a ``.pt2`` file: ``torch.export.load(path).module()(latents=...)`` needs PyTorch alone.

    Returns:
        How closely it agrees with the module.

    Raises:
        ValueError: the result differs from the module's.
    """
    module, given = standalone(run), inputs(run)
    examples = {name: value.example for name, value in given.items()}
    shapes = {name: {n: torch.export.Dim(dim, min=1) for n, dim in value.dynamic.items()} for name, value in given.items()}
    with torch.no_grad():
        program = torch.export.export(module, (), examples, dynamic_shapes=shapes)
    held = io.BytesIO()
    torch.export.save(program, held, extra_files={"gan_lab.json": json.dumps(metadata(run))})
    held.seek(0)
    loaded = torch.export.load(held).module()
    difference = _compare(run, module, lambda values: loaded(**values))
    write_atomically(path, held.getvalue())
    return difference


def export_onnx(run: Run, path: Path) -> str:
    """Write an ONNX file with a dynamic batch size, and of an upscaler dynamic height and width.

    Returns:
        How closely it agrees with PyTorch.

    Raises:
        ValueError: a package is missing, or the result differs from PyTorch's.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it, and says so in many lines
    except ImportError as error:
        raise ValueError(f"out={path}: ONNX needs the package {error.name}: pip install 'gan_lab[onnx]'") from error
    module, given = standalone(run), inputs(run)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module,
            (),
            kwargs={name: value.example for name, value in given.items()},
            dynamic_shapes={name: value.dynamic for name, value in given.items()},
            output_names=["images" if "images" not in given else "upscaled"],
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "with dynamo=True it is returned"
    program.model.metadata_props.update(metadata(run))
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    assert names == list(given), (names, list(given))
    difference = _compare(
        run, module, lambda values: torch.from_numpy(session.run(None, {n: v.numpy() for n, v in values.items()})[0])
    )
    write_atomically(path, content)
    return difference


def metadata(run: Run) -> dict[str, str]:
    """What a user of the file has to know: inputs, values of the images, class names, version and training."""
    described = {name: value.description for name, value in inputs(run).items()}
    return {
        "producer": f"gan_lab {__version__}",
        "inputs": json.dumps(described),
        "output": "images with values in [0, 1]",
        "classes": json.dumps(list(run.labels.names), ensure_ascii=False),
        "images_seen": str(run.images_seen),
    }


def _compare(run: Run, module: nn.Module, program: Any) -> str:
    """Compare an exported program with the module, on batches that it has not been exported with.

    Raises:
        ValueError: pixel values differ by more than :data:`TOLERANCE`.
    """
    largest = 0.0
    for count in CHECKED_BATCHES:
        values = {name: value.example for name, value in inputs(run, count, seed=count).items()}
        with torch.no_grad():
            expected: Tensor = module(**values)
        largest = max(largest, float((program(values) - expected).abs().max()))
    if not largest <= TOLERANCE:  # also if it is NaN
        raise ValueError(f"the exported program's pixel values differ from PyTorch's by {largest:.2g}; nothing was written")
    return f"pixel values in [0, 1] within {largest:.1g} of PyTorch's"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about its own code."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
