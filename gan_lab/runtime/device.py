"""The device a run uses, and what has to be settled on it before anything is built."""

from __future__ import annotations

import os
import random

import torch

from gan_lab.runtime import torchrun


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU. Of the processes of ``torchrun`` each takes a GPU of its own.

    Raises:
        ValueError: no such device here.
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
            raise ValueError(f"device={name}: each process of torchrun takes a GPU of its own; say device=cuda")
        device = torch.device("cuda", torchrun.local_rank_and_size()[0])
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}: this machine, or this build of PyTorch, has no CUDA; use device=cpu or device=auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name}: this machine has {torch.cuda.device_count()} CUDA device(s), counted from 0")
    return device


def set_num_threads(threads: int | str) -> None:
    """Threads of one operation on the CPU.

    Args:
        threads: how many; ``auto`` leaves the choice to PyTorch, which takes all cores or ``OMP_NUM_THREADS``, but shares the
            cores among the processes of ``torchrun``, which would give each a single thread.
    """
    _, processes = torchrun.local_rank_and_size()
    if threads != "auto":
        torch.set_num_threads(int(threads))
    elif processes > 1:
        torch.set_num_threads(max(1, available_cores() // processes))


def available_cores() -> int:
    """Those this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed every generator; ``deterministic`` allows only algorithms that repeat themselves exactly."""
    random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only so
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call imports the compiler, two seconds
        torch.use_deterministic_algorithms(deterministic)
