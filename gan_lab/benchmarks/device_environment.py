"""What the checks of ``benchmark=device`` run in: configurations, data, memory, and how a check is recorded."""

from __future__ import annotations

import gc
import itertools
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job, compose_job
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.callbacks import Callbacks
from gan_lab.training.trainer import Trainer
from gan_lab.utils.formatting import first_line

OK, FAILED, SKIPPED = "ok", "failed", "skipped"

IMAGES, NUM_IMAGES, NUM_CLASSES, IMAGE_SIZE = "images.npz", 512, 4, 32
"""File name, number, classes and side of the synthetic images."""

COMMON = (
    "dataset=folder",
    "dataset.resize_mode=resize",
    "console=plain",
    "evaluation=none",
    "num_threads=auto",
    "sample.count=4",
    "batch_size=8",
    "epochs=4",
)

STICKY = ("CUDA error", "cudaError", "CUBLAS_STATUS", "CUDNN_STATUS", "unspecified launch failure", "illegal memory access")
"""Parts of messages after which a process may no longer be able to use its GPU."""


class Skipped(Exception):
    """A check does not apply to this device."""


@dataclass
class Environment:
    """Where checks run.

    Attributes:
        device: of all runs.
        folder: an empty folder for data and run directories.
        steps: training steps of a check.
        capture: makes a trainer record its iterations. None: as configured by ``capture=auto``, for CUDA devices.
        prepare: called with each new trainer.
    """

    device: torch.device
    folder: Path
    steps: int
    capture: Callable[[Trainer], None] | None = None
    prepare: Callable[[Trainer], None] = field(default=lambda trainer: None)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        write_images(self.folder)

    def job(self, *overrides: str, captured: bool = False, directory: RunDirectory | None = None) -> Job:
        """The job of a run on the synthetic images.

        Raises:
            ValueError: the configuration is not valid.
        """
        given = [f"device={self.device}", f"paths.data={self.folder / 'data'}", f"dataset.path={self.folder / IMAGES}"]
        capture = "auto" if captured and self.capture is None else "none"
        return compose_job([*COMMON, *overrides, *given, f"capture={capture}"], directory or self.new_directory())

    def build(
        self, *overrides: str, captured: bool = False, callbacks: bool = False, directory: RunDirectory | None = None
    ) -> Trainer:
        """A new trainer; the same overrides always give the same weights, batches and random numbers.

        Args:
            overrides: the run.
            captured: whether it records its iterations.
            callbacks: whether it logs, evaluates, samples and saves.
            directory: the run directory; None: a new one.

        Raises:
            Skipped: the device does not support the precision.
            ValueError: the configuration is not valid.
        """
        job = self.job(*overrides, captured=captured, directory=directory)
        try:
            trainer = build_trainer(job)
        except ValueError as error:
            if str(error).startswith("precision") and not is_sticky(str(error)):
                raise Skipped(first_line(error)) from error
            raise
        if not callbacks:
            trainer.callbacks = Callbacks({}, end=sys.maxsize)
        self.prepare(trainer)
        if captured and self.capture is not None:
            self.capture(trainer)
        return trainer

    def new_directory(self) -> RunDirectory:
        folder = self.folder / "runs" / str(next(self._numbers))
        folder.mkdir(parents=True)
        return RunDirectory(folder)


@dataclass(frozen=True)
class Check:
    """A named check.

    Attributes:
        subject: what is checked.
        precision: option of the group ``precision`` that it runs in.
        function: returns what it found; raises an exception if that is wrong, or :class:`Skipped`.
    """

    subject: str
    precision: str
    function: Callable[[Environment], str]

    @property
    def name(self) -> str:
        """Unique among all checks."""
        return f"{self.subject}, {self.precision}"


def run_check(check: Check, environment: Environment) -> dict[str, Any]:
    """Run a check; any exception is recorded instead of raised.

    Returns:
        ``status`` (ok, failed or skipped), ``message``, ``seconds``; after a failure also ``traceback``.
    """
    start, row = time.perf_counter(), dict[str, Any]()
    try:
        row |= {"status": OK, "message": check.function(environment)}
    except Skipped as reason:
        row |= {"status": SKIPPED, "message": str(reason)}
    except Exception as error:
        row |= {"status": FAILED, "message": first_line(error), "traceback": traceback.format_exc()}
    release_memory(environment.device)
    return {**row, "seconds": time.perf_counter() - start}


def release_memory(device: torch.device) -> None:
    """Free the memory of trainers that no longer exist, including that of their graphs."""
    gc.collect()
    if device.type == "cuda":
        with suppress(RuntimeError):  # after an error that leaves the GPU unusable, which was reported
            torch.cuda.empty_cache()


@contextmanager
def limited_memory(device: torch.device, spare: int) -> Iterator[None]:
    """Let the process allocate only ``spare`` bytes more in the block than it has reserved before."""
    release_memory(device)
    index = torch.cuda.current_device() if device.index is None else device.index
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved(index) + spare) / total), index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Put ``name`` before the message of an exception in the block."""
    try:
        yield
    except Skipped:
        raise
    except Exception as error:
        raise RuntimeError(f"{name}: {first_line(error)}") from error


def is_sticky(message: str) -> bool:
    """Whether the process may no longer be able to use its GPU after an error with this message."""
    return any(part in message for part in STICKY)


def write_images(folder: Path) -> None:
    """Write synthetic color images with class labels: waves whose frequency depends on the class, and noise."""
    random = np.random.default_rng(0)
    labels = np.arange(NUM_IMAGES) % NUM_CLASSES
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE][:, None, :, :, None] * 2 * np.pi / IMAGE_SIZE
    phase = random.uniform(0, 2 * np.pi, (2, NUM_IMAGES, 1, 1, 3))
    waves = np.sin((1 + labels[:, None, None, None]) * x + phase[0]) * np.sin(2 * y + phase[1])
    pixels = 128 + 90 * waves + random.normal(0, 8, (NUM_IMAGES, IMAGE_SIZE, IMAGE_SIZE, 3))
    np.savez(folder / IMAGES, images=np.clip(pixels, 0, 255).astype(np.uint8), labels=labels)
