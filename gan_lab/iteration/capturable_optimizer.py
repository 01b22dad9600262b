"""Prepares optimizers for CUDA graphs: values that change from step to step are kept in tensors on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class AdamWithTensorBetas(torch.optim.Optimizer):
    """Adam, or AdamW, whose betas are tensors on the parameters' device, so that they may change between replays of a graph.

    Those of ``torch.optim`` read their betas on the host. The state has the same names as theirs.

    Args:
        adam: a new optimizer, whose parameters and options this one takes over.

    Raises:
        ValueError: ``adam`` is not ``torch.optim.Adam`` or ``AdamW``, or has ``amsgrad`` or ``maximize``.
    """

    def __init__(self, adam: torch.optim.Optimizer) -> None:
        unsupported = any(group.get(option) for group in adam.param_groups for option in ("amsgrad", "maximize"))
        if unsupported or not isinstance(adam, torch.optim.Adam | torch.optim.AdamW):
            raise ValueError("schedule.of: betas can be scheduled for Adam and AdamW without amsgrad and maximize")
        decoupled = isinstance(adam, torch.optim.AdamW)
        groups = [{key: group[key] for key in ("params", "lr", "betas", "eps", "weight_decay")} for group in adam.param_groups]
        super().__init__(groups, {"decoupled_weight_decay": decoupled, "capturable": True})
        for group in self.param_groups:
            device = group["params"][0].device
            group["betas"] = tuple(torch.tensor(float(beta), device=device) for beta in group["betas"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the parameters that have a gradient (Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2)."""
        assert closure is None
        for group in self.param_groups:
            if parameters := [parameter for parameter in group["params"] if parameter.grad is not None]:
                self._update(parameters, [parameter.grad for parameter in parameters], group)

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._state(parameter) for parameter in parameters]
        steps, means, squares = ([state[name] for state in states] for name in ("step", "exp_avg", "exp_avg_sq"))
        decay = group["weight_decay"]
        if decay and group["decoupled_weight_decay"]:
            torch._foreach_mul_(parameters, 1.0 - group["lr"] * decay)
        elif decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
        torch._foreach_add_(steps, 1.0)
        beta1, beta2 = group["betas"]
        _move_towards(means, gradients, 1.0 - beta1)
        _move_towards(squares, torch._foreach_mul(gradients, gradients), 1.0 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [correction.sqrt() for correction in _bias_corrections(steps, beta2)])
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(means, roots)
        torch._foreach_mul_(updates, [group["lr"] / correction for correction in _bias_corrections(steps, beta1)])
        torch._foreach_sub_(parameters, updates)

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def _move_towards(averages: list[Tensor], values: Any, weight: Tensor) -> None:
    differences = torch._foreach_sub(values, averages)
    torch._foreach_mul_(differences, weight)
    torch._foreach_add_(averages, differences)


def _bias_corrections(steps: list[Tensor], beta: Tensor) -> list[Tensor]:
    """``1 - beta ** step``."""
    powers = torch._foreach_exp(torch._foreach_mul(steps, beta.log()))
    return [1.0 - power for power in powers]


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Move learning rates and step counts to the device; does nothing if :func:`why_not_capturable` gives a reason."""
    if why_not_capturable(optimizer):
        return
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], device=device)
        if "capturable" in group:
            group["capturable"] = True
    optimizer._warned_capturable_if_run_uncaptured = True  # eager steps are intended


def why_not_capturable(optimizer: torch.optim.Optimizer) -> str:
    """Why a step of the optimizer can't be part of a CUDA graph; empty if it can.

    Args:
        optimizer: any of ``torch.optim``.
    """
    name = type(optimizer).__name__
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if not fused and not all("capturable" in group for group in optimizer.param_groups):
        return f"{name} reads its learning rate on the host; if it supports optimizer.fused=true, that avoids this"
    return ""
