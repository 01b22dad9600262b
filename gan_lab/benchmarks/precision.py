"""Errors of each precision relative to float64, for every layer and parameter, with the same weights and images."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from gan_lab.benchmarks.timing import Repeated, Result, interleaved, start_at_end, synchronizer
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job, option
from gan_lab.data.augmentation import Augmentations
from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import GAN, BatchNoise
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.step_context import StepContext
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer
from gan_lab.utils.terminal import print_table

REFERENCE = "fp64"

Values = dict[str, Tensor]
"""Outputs of layers and gradients of parameters, by name, in float64."""

ZERO_GRADIENT = 1e-10
"""A gradient whose norm is below this fraction of the network's largest one is zero except for rounding errors, such as that of
a bias before batch norm."""


@dataclass
class PrecisionResult(Result):
    """Times of a step, and errors.

    Attributes:
        errors: for each output or gradient, by precision, ``||x - x64|| / ||x64||``; without gradients that are zero.
    """

    errors: dict[str, dict[str, float]] = field(default_factory=dict)

    def print(self) -> None:
        precisions = list(next(iter(self.errors.values())))
        rows = [[value, *(f"{errors[name]:.1e}" for name in precisions)] for value, errors in self.errors.items()]
        print_table(["relative error of", *precisions], rows)
        super().print()

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "errors": self.errors}


class PrecisionBenchmark(Repeated):
    """Measures the error of every layer's output and every parameter's gradient, and the time of a step.

    Args:
        rounds, steps, warmup: of the time measurement; see :class:`Repeated`.
        precisions: options of the group ``precision``; those that the device does not support are left out.
    """

    def __init__(self, rounds: int, steps: int, warmup: int, precisions: list[str]) -> None:
        super().__init__(rounds, steps, warmup)
        self._precisions = list(precisions)

    def __call__(self, job: Job) -> PrecisionResult:
        with tempfile.TemporaryDirectory() as scratch:
            trainers = {name: self._trainer(job, name, Path(scratch) / name) for name in (REFERENCE, *self._precisions)}
            supported = {name: trainer for name, trainer in trainers.items() if trainer is not None}
            reference = supported[REFERENCE]
            inputs = NetworkInputs.of(reference)
            values = {name: layer_values(trainer, inputs) for name, trainer in supported.items()}
            errors = relative_errors(values, values.pop(REFERENCE))
            batches = {name: trainer.loader.batches() for name, trainer in supported.items()}
            loops = {name: partial(_step, trainer, batches[name]) for name, trainer in supported.items()}
            interleaved(loops, 1, self._warmup)
            seconds = interleaved(loops, self._rounds, self._steps, synchronizer(reference.device))
            for trainer in supported.values():
                trainer.records.tracker.finish(trainer.records.summary("finished"))
        result = PrecisionResult(seconds, dict.fromkeys(seconds, job.cfg.batch_size), errors=errors)
        for name in (name for name in supported if name not in ("fp32", REFERENCE) and "fp32" in supported):
            result.ratios[f"time of a step in {name} / in fp32"] = result.ratio(name, "fp32")
        return result

    def _trainer(self, job: Job, precision: str, folder: Path) -> Trainer | None:
        """The job's trainer in another precision, or None if the device does not support it."""
        cfg: DictConfig = job.cfg.copy()
        folder.mkdir()
        cfg.precision = option("precision", precision)
        try:
            trainer = build_trainer(replace(job, cfg=cfg, directory=RunDirectory(folder)))
        except ValueError as error:
            if precision == REFERENCE or "precision" not in str(error):
                raise
            return None
        start_at_end(trainer)
        return trainer


class NetworkInputs(NamedTuple):
    """Weights, images and latents that are the same for every precision.

    The weights are a copy, since a forward pass changes buffers such as the vectors of spectral normalization.
    """

    networks: Mapping[str, Mapping[str, Any]]
    batch: Batch
    latents: Tensor

    @classmethod
    def of(cls, trainer: Trainer) -> NetworkInputs:
        """The trainer's weights, its first batch, and latents for a batch of this size."""
        gan = trainer.updater.gan
        networks = {name: copy.deepcopy(getattr(gan, name).state_dict()) for name in ("generator", "discriminator")}
        batch = trainer.updater.growth_state.match_resolution(next(trainer.loader.batches()))
        noise = BatchNoise(replace(gan, rng=torch.Generator().manual_seed(0)), len(batch.real), trainer.device)
        return cls(networks, batch, noise.generator_inputs(batch, slice(None), slice(None)))


def layer_values(trainer: Trainer, inputs: NetworkInputs) -> Values:
    """Outputs of the layers and gradients of the parameters, without gradients that are zero.

    Computed without dropout and augmentation, whose random numbers differ in float64.
    """
    gan = replace(trainer.updater.gan, augment=Augmentations({}))
    values: Values = {}
    for phase in trainer.updater.phases:
        _prepare(gan, phase, inputs)
        layers = {f"{phase.name}: {name}": module for name, module in phase.network.named_modules() if _is_layer(module)}
        handles = [module.register_forward_hook(partial(_record_output, values, name)) for name, module in layers.items()]
        _backward(gan, phase, inputs)
        for handle in handles:
            handle.remove()
        values |= {f"{phase.name}: gradient of {name}": gradient for name, gradient in _gradients(phase.network).items()}
    for network in (gan.generator, gan.discriminator):
        network.train()
    return values


def relative_errors(values: Mapping[str, Values], reference: Values) -> dict[str, dict[str, float]]:
    """The errors of :class:`PrecisionResult`. A gradient that underflows in a precision has an error of 1.

    Args:
        values: by precision.
        reference: in float64.
    """
    zero = torch.zeros((), dtype=torch.float64)
    return {
        key: {precision: float((found.get(key, zero) - exact).norm() / exact.norm()) for precision, found in values.items()}
        for key, exact in reference.items()
    }


def _prepare(gan: GAN, phase: Phase, inputs: NetworkInputs) -> None:
    """Load the weights, disable dropout, and let only the phase's network require gradients."""
    for name, state in inputs.networks.items():
        network = getattr(gan, name)
        network.load_state_dict(copy.deepcopy(state))
        for module in network.modules():
            module.train(not isinstance(module, _DropoutNd))
    phase.opponent.requires_grad_(False)
    phase.network.requires_grad_(True)
    phase.network.zero_grad()
    torch.manual_seed(0)


def _backward(gan: GAN, phase: Phase, inputs: NetworkInputs) -> None:
    """Compute the gradient of the loss terms of every step, without the loss scale."""
    terms = [term for term in phase.terms.values() if term.interval == 1]
    batch = inputs.batch
    context = StepContext(
        gan,
        batch.real.to(phase.precision.param_dtype),
        inputs.latents,
        gan.labels.encode(batch.labels),
        generator_step=phase.network is gan.generator,
        needs_gradient_of=frozenset().union(*(term.needs_gradient_of for term in terms)),
        interpolation_weight=lambda: torch.full((len(batch.real),), 0.5, device=batch.real.device),
    )
    with phase.precision.autocast():
        loss = torch.stack([term.weight * term(context) for term in terms]).sum()
    scale = 2.0**10 if phase.scaler.is_enabled() else 1.0
    (loss * scale).backward()
    for parameter in phase.network.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale


def _gradients(network: nn.Module) -> Values:
    gradients = {name: p.grad.to(torch.float64, copy=True) for name, p in network.named_parameters() if p.grad is not None}
    norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    return {name: gradient for name, gradient in gradients.items() if norms[name] > ZERO_GRADIENT * max(norms.values())}


def _step(trainer: Trainer, batches: Iterator[Batch]) -> None:
    trainer.step(next(batches))


def _record_output(values: Values, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    if isinstance(output, Tensor):
        values.setdefault(name, output.detach().to(torch.float64, copy=True))  # copied: the next layer may work in place


def _is_layer(module: nn.Module) -> bool:
    return not list(module.children()) and bool(list(module.parameters()))
