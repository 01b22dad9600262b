"""The device of a run, its number of threads, and seeding."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gan_lab.runtime import torchrun
from gan_lab.utils.formatting import format_count

log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """The device that ``device=name`` selects.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: CUDA if it is available, else the CPU. Under ``torchrun`` each process
            uses the GPU of its local rank.

    Raises:
        ValueError: ``name`` is not one of these, or there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device={name}: must be auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name}: must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and torchrun.is_distributed():
        if device.index is not None:
            raise ValueError(f"device={name}: each process of torchrun uses a GPU of its own; use device=cuda")
        device = torch.device("cuda", torchrun.local_rank_and_size()[0])
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}: this machine, or this build of PyTorch, has no CUDA; use device=cpu or device=auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name}: this machine has {torch.cuda.device_count()} CUDA device(s), numbered from 0")
    return device


def set_num_threads(threads: int | str) -> None:
    """Set the number of threads that a CPU operation of PyTorch uses.

    Args:
        threads: the number, or ``auto``: PyTorch's default (``OMP_NUM_THREADS`` or all cores); under ``torchrun``, which would
            set one thread per process, the cores divided by the processes on this machine.
    """
    _, processes = torchrun.local_rank_and_size()
    if threads != "auto":
        if int(threads) > available_cores():
            log.warning(
                "num_threads=%s: this machine has %s; more threads take longer",
                threads,
                format_count(available_cores(), "core"),
            )
        torch.set_num_threads(int(threads))
    elif processes > 1:
        torch.set_num_threads(max(1, available_cores() // processes))


def available_cores() -> int:
    """Number of CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed Python's and PyTorch's random number generators; ``deterministic`` allows only deterministic algorithms."""
    random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call takes two seconds, as it imports the compiler
        torch.use_deterministic_algorithms(deterministic)


@contextmanager
def without_tf32() -> Iterator[None]:
    """A context, or a decorator, in which float32 products on CUDA are exact to float32.

    Scores must not depend on the precision of the training, nor on cuDNN's default, which allows TF32.
    """
    if not torch.cuda.is_available():
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
