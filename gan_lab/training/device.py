"""The device a run uses, and what has to be settled on it before anything is built."""

from __future__ import annotations

import os
import random

import torch


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device={name}: must be auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name}: must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}: this machine, or this build of PyTorch, has no CUDA; use device=cpu or device=auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name}: this machine has {torch.cuda.device_count()} CUDA device(s), counted from 0")
    return device


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed every generator; ``deterministic`` allows only algorithms that repeat themselves exactly."""
    random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only so
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call imports the compiler, two seconds
        torch.use_deterministic_algorithms(deterministic)
