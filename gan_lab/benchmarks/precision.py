"""What each precision does to every layer: errors against float64, on the same weights and the same images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from gan_lab.benchmarks.step import begin, settle
from gan_lab.benchmarks.timing import Repeated, Result, in_turn
from gan_lab.build import build_trainer
from gan_lab.config import Job, option
from gan_lab.data.stream import Batch
from gan_lab.directory import RunDirectory
from gan_lab.training.phase import Phase
from gan_lab.training.round import Round
from gan_lab.training.trainer import Trainer

REFERENCE = "fp64"

Values = dict[str, Tensor]
"""Outputs of layers, and gradients of parameters, by name."""


@dataclass
class PrecisionResult(Result):
    """With errors.

    Attributes:
        errors: by what it is of, then by precision: ``||x - x64|| / ||x64||``.
    """

    errors: dict[str, dict[str, float]] = field(default_factory=dict)

    def print(self) -> None:
        names = list(next(iter(self.errors.values())))
        table = Table("relative error of", *names)
        for column in table.columns[1:]:
            column.justify = "right"
        for what, errors in self.errors.items():
            table.add_row(what, *(f"{errors[name]:.1e}" for name in names))
        Console(soft_wrap=True, highlight=False).print(table)
        super().print()

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "errors": self.errors}


class PrecisionBenchmark(Repeated):
    """Errors of every layer's output and every parameter's gradient, and the time of a step.

    Args:
        rounds, steps, warmup: of the time; see :class:`Repeated`.
        precisions: options of the group ``precision``; those the device does not have are left out.
    """

    def __init__(self, rounds: int, steps: int, warmup: int, precisions: list[str]) -> None:
        super().__init__(rounds, steps, warmup)
        self._precisions = list(precisions)

    def __call__(self, job: Job) -> PrecisionResult:
        with tempfile.TemporaryDirectory() as scratch:
            trainers = {name: self._trainer(job, name, Path(scratch) / name) for name in (REFERENCE, *self._precisions)}
            there = {name: trainer for name, trainer in trainers.items() if trainer is not None}
            reference = there[REFERENCE]
            wanted = look(reference, reference)
            seen = {name: look(trainer, reference) for name, trainer in there.items() if name != REFERENCE}
            errors = {what: {n: _error(values[what], right) for n, values in seen.items()} for what, right in wanted.items()}
            endless = {name: trainer.stream.batches() for name, trainer in there.items()}
            loops = {name: partial(_step, trainer, endless[name]) for name, trainer in there.items()}
            in_turn(loops, 1, self._warmup)
            seconds = in_turn(loops, self._rounds, self._steps, settle(reference.device))
            for trainer in there.values():
                trainer.tracker.finish(trainer.summary("finished"))
        result = PrecisionResult(seconds, dict.fromkeys(seconds, job.cfg.batch_size), errors=errors)
        for name in (name for name in there if name not in ("fp32", REFERENCE) and "fp32" in there):
            result.ratios[f"time of a step in {name} / in fp32"] = result.ratio(name, "fp32")
        return result

    def _trainer(self, job: Job, precision: str, folder: Path) -> Trainer | None:
        """The job's in another precision, or None where the device can't."""
        cfg: DictConfig = job.cfg.copy()
        folder.mkdir()
        cfg.precision = option("precision", precision)
        try:
            trainer = build_trainer(replace(job, cfg=cfg, directory=RunDirectory(folder)))
        except ValueError as error:
            if precision == REFERENCE or "precision" not in str(error):
                raise
            return None
        begin(trainer)
        return trainer


def look(trainer: Trainer, reference: Trainer) -> Values:
    """Outputs of the layers and gradients of the parameters for the reference's weights, latents and images."""
    game, other = trainer.game, reference.game
    found: Values = {}
    batch = next(iter(reference.stream.batches()))
    batch = reference.stage.show(Batch(batch.real, batch.labels))
    latents = game.latents.draw(len(batch.real), trainer.device, torch.Generator().manual_seed(0))
    for phase in trainer.phases:
        game.generator.load_state_dict(other.generator.state_dict())
        game.discriminator.load_state_dict(other.discriminator.state_dict())
        phase.player.requires_grad_(True)
        phase.idle.requires_grad_(False)
        phase.player.zero_grad()
        torch.manual_seed(0)
        watched = {f"{phase.name}: {name}": module for name, module in phase.player.named_modules() if _is_leaf(module)}
        handles = [module.register_forward_hook(partial(_keep, found, name)) for name, module in watched.items()]
        _backward(trainer, phase, batch, latents)
        for handle in handles:
            handle.remove()
        found |= {
            f"{phase.name}: gradient of {name}": parameter.grad.detach().to(torch.float64, copy=True)
            for name, parameter in phase.player.named_parameters()
            if parameter.grad is not None and parameter.grad.abs().max() > 0
        }
    return found


def _backward(trainer: Trainer, phase: Phase, batch: Batch, latents: Tensor) -> None:
    """The gradient of what the player minimises in every step, with the scaler's scale taken out again."""
    terms = [term for term in phase.terms.values() if term.every == 1]
    needs = frozenset().union(*(term.needs_gradient_of for term in terms))
    game = trainer.game
    round = Round(
        game,
        batch.real.to(phase.precision.weights),
        latents,
        game.labels.encode(batch.labels),
        generator_turn=phase.player is game.generator,
        needs_gradient_of=needs,
        uniform=lambda: torch.full((len(batch.real),), 0.5, device=trainer.device),
    )
    with phase.precision.autocast():
        loss = torch.stack([term.weight * term(round) for term in terms]).sum()
    scale = 2.0**10 if phase.scaler.is_enabled() else 1.0
    (loss * scale).backward()
    for parameter in phase.player.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale


def _step(trainer: Trainer, endless: Any) -> None:
    trainer.step(next(endless))


def _keep(found: Values, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    if isinstance(output, Tensor):
        found.setdefault(name, output.detach().to(torch.float64, copy=True))  # the next layer may work in place


def _is_leaf(module: nn.Module) -> bool:
    return not list(module.children()) and bool(list(module.parameters()))


def _error(value: Tensor, right: Tensor) -> float:
    return float((value - right).norm() / right.norm())
