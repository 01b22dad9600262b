"""An optimizer step that takes effect only if a condition on the device holds, without waiting for the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


@torch.no_grad()
def step_if(condition: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Perform ``optimizer.step()`` if ``condition`` is true; otherwise parameters and optimizer state keep their values.

    The fused Adam of PyTorch can leave a step out by itself, which is how gradient scalers use it. All other optimizers step in
    any case, and every tensor they have changed gets its old value back.

    Args:
        condition: a scalar of type bool on the parameters' device.
        optimizer: with gradients.
    """
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) and all(group["fused"] for group in optimizer.param_groups):
        optimizer.grad_scale, optimizer.found_inf = None, 1.0 - condition.float()  # type: ignore[attr-defined]
        optimizer.step()
        del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    for gradient in (parameter.grad for parameter in parameters):
        assert gradient is not None
        gradient.masked_fill_(~condition, 0.0)  # an optimizer's first step starts its state from them
    changed = [tensor for p in parameters for tensor in (p, *_state(optimizer, p, condition.device))]
    before = [tensor.clone() for tensor in changed]
    optimizer.step()
    for tensor, value in zip(changed, before, strict=True):
        tensor.copy_(torch.where(condition, tensor, value))


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor, device: torch.device) -> Iterator[Tensor]:
    """The optimizer's tensors of a parameter on ``device``: moments, and step counts unless they are on the host."""
    for value in optimizer.state.get(parameter, {}).values():
        if isinstance(value, Tensor) and value.device == device:
            yield value
