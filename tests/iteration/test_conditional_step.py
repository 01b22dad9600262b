"""Optimizer steps that take effect only under a condition on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from recorded_operations import RecordedOperations
from torch import Tensor, nn

from gan_lab.iteration.capturable_optimizer import AdamWithTensorBetas
from gan_lab.iteration.conditional_step import step_if

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "Adam with tensors as betas": lambda p: AdamWithTensorBetas(torch.optim.Adam(p, lr=0.1)),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}


def everything(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = {f"{n} {name}": value for n, (_, values) in enumerate(optimizer.state.items()) for name, value in values.items()}
    return {name: value.detach().clone() for name, value in (dict(network.named_parameters()) | state).items()}


def gradients(network: nn.Module, factor: float = 1.0) -> None:
    for n, parameter in enumerate(network.parameters()):
        parameter.grad = factor * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_takes_place_exactly_if_the_condition_holds(make: Callable[[Any], torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    reference = copy.deepcopy(network)
    optimizer, plain = make(network.parameters()), make(reference.parameters())
    for _ in range(3):
        gradients(network)
        step_if(torch.tensor(True), optimizer)
        gradients(reference)
        plain.step()
        before = everything(network, optimizer)
        torch.testing.assert_close(before, everything(reference, plain), rtol=0, atol=0)
        gradients(network, float("nan"))
        step_if(torch.tensor(False), optimizer)
        torch.testing.assert_close(everything(network, optimizer), before, rtol=0, atol=0)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_first_step_that_is_left_out_leaves_no_values_that_are_not_finite(
    make: Callable[[Any], torch.optim.Optimizer],
) -> None:
    network = nn.Linear(3, 2)
    before, optimizer = copy.deepcopy(network.state_dict()), make(network.parameters())
    gradients(network, float("inf"))
    step_if(torch.tensor(False), optimizer)
    torch.testing.assert_close(dict(network.state_dict()), dict(before), rtol=0, atol=0)
    gradients(network)
    step_if(torch.tensor(True), optimizer)
    assert all(value.isfinite().all() for value in everything(network, optimizer).values())


@pytest.mark.parametrize("name", ["fused Adam", "Adam with tensors as betas"])
def test_nothing_waits_for_the_condition(name: str) -> None:
    network = nn.Linear(3, 2)
    optimizer = OPTIMIZERS[name](network.parameters())
    gradients(network)
    step_if(torch.tensor(True), optimizer)
    before, condition = everything(network, optimizer), torch.tensor(False)
    RecordedOperations().record(lambda: step_if(condition, optimizer))
    torch.testing.assert_close(everything(network, optimizer), before, rtol=0, atol=0)
