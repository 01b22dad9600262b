"""Prepares optimizers for CUDA graphs: values that change from step to step are kept in tensors on the device."""

from __future__ import annotations

import torch


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Move learning rates and step counts to the device; does nothing if :func:`why_not_capturable` gives a reason."""
    if why_not_capturable(optimizer):
        return
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], device=device)
        if "capturable" in group:
            group["capturable"] = True
    optimizer._warned_capturable_if_run_uncaptured = True  # eager steps are intended


def why_not_capturable(optimizer: torch.optim.Optimizer, loss_scaling: bool = False) -> str:
    """Why a step of the optimizer can't be part of a CUDA graph; empty if it can.

    Args:
        optimizer: any of ``torch.optim``.
        loss_scaling: whether a gradient scaler decides which steps are skipped.
    """
    name = type(optimizer).__name__
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if not fused and not all("capturable" in group for group in optimizer.param_groups):
        advice = "" if loss_scaling else "; if it supports optimizer.fused=true, that avoids this"  # fused SGD fails in fp16
        return f"{name} reads its learning rate on the host{advice}"
    if loss_scaling and not getattr(optimizer, "_step_supports_amp_scaling", False):
        return f"{name} waits for the gradient scaler's decision to skip a step; use optimizer.fused=true or precision=bf16"
    return ""
