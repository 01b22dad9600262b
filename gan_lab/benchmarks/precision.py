"""What each precision does to every layer: errors against float64, on the same weights and the same images."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from gan_lab.benchmarks.step import begin, synchronize
from gan_lab.benchmarks.timing import Repeated, Result, interleaved
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job, option
from gan_lab.data.augmentation import Augmentations
from gan_lab.data.loader import Batch
from gan_lab.iteration.gan import GAN, BatchNoise
from gan_lab.iteration.phase import Phase
from gan_lab.iteration.step_context import StepContext
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer

REFERENCE = "fp64"

Values = dict[str, Tensor]
"""Outputs of layers, and gradients of parameters, by name."""

NOTHING = 1e-10
"""Share of a player's gradient below which one is zero but for rounding, as that of a bias before a batch normalisation is."""


@dataclass
class PrecisionResult(Result):
    """With errors.

    Attributes:
        errors: by what it is of, then by precision: ``||x - x64|| / ||x64||``. Gradients that are zero are left out.
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
            scene = Scene.of(reference)
            seen = {name: look(trainer, scene) for name, trainer in there.items()}
            errors = errors_of(seen, seen.pop(REFERENCE))
            endless = {name: trainer.loader.batches() for name, trainer in there.items()}
            loops = {name: partial(_step, trainer, endless[name]) for name, trainer in there.items()}
            interleaved(loops, 1, self._warmup)
            seconds = interleaved(loops, self._rounds, self._steps, synchronize(reference.device))
            for trainer in there.values():
                trainer.records.tracker.finish(trainer.records.summary("finished"))
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


class Scene(NamedTuple):
    """What every precision looks at: a copy, as a look changes what layers remember (spectral normalisation's vectors)."""

    networks: Mapping[str, Mapping[str, Any]]
    batch: Batch
    latents: Tensor

    @classmethod
    def of(cls, trainer: Trainer) -> Scene:
        """The trainer's weights, its first images, and latents for as many."""
        game = trainer.updater.gan
        networks = {name: copy.deepcopy(getattr(game, name).state_dict()) for name in ("generator", "discriminator")}
        batch = trainer.updater.growth_state.match_resolution(next(trainer.loader.batches()))
        draws = BatchNoise(replace(game, rng=torch.Generator().manual_seed(0)), len(batch.real), trainer.device)
        return cls(networks, batch, draws.generator_inputs(batch, slice(None), slice(None)))


def look(trainer: Trainer, scene: Scene) -> Values:
    """Outputs of the layers and gradients of the parameters, those that are zero left out.

    Without dropout and augmentation, whose random numbers are others in float64.
    """
    game = replace(trainer.updater.gan, augment=Augmentations({}))
    found: Values = {}
    for phase in trainer.updater.phases:
        _prepare(game, phase, scene)
        watched = {f"{phase.name}: {name}": module for name, module in phase.network.named_modules() if _is_leaf(module)}
        handles = [module.register_forward_hook(partial(_keep, found, name)) for name, module in watched.items()]
        _backward(game, phase, scene)
        for handle in handles:
            handle.remove()
        found |= {f"{phase.name}: gradient of {name}": gradient for name, gradient in _gradients(phase.network).items()}
    for network in (game.generator, game.discriminator):
        network.train()
    return found


def errors_of(seen: Mapping[str, Values], right: Values) -> dict[str, dict[str, float]]:
    """See :class:`PrecisionResult`. A gradient that underflows in a precision is wrong by 1."""
    zero = torch.zeros((), dtype=torch.float64)
    return {
        what: {name: float((values.get(what, zero) - wanted).norm() / wanted.norm()) for name, values in seen.items()}
        for what, wanted in right.items()
    }


def _prepare(game: GAN, phase: Phase, scene: Scene) -> None:
    for name, state in scene.networks.items():
        network = getattr(game, name)
        network.load_state_dict(copy.deepcopy(state))
        for module in network.modules():
            module.train(not isinstance(module, _DropoutNd))
    phase.opponent.requires_grad_(False)
    phase.network.requires_grad_(True)
    phase.network.zero_grad()
    torch.manual_seed(0)


def _backward(game: GAN, phase: Phase, scene: Scene) -> None:
    """The gradient of what the player minimises in every step, with the scaler's scale taken out again."""
    terms = [term for term in phase.terms.values() if term.interval == 1]
    batch = scene.batch
    round = StepContext(
        game,
        batch.real.to(phase.precision.param_dtype),
        scene.latents,
        game.labels.encode(batch.labels),
        generator_step=phase.network is game.generator,
        needs_gradient_of=frozenset().union(*(term.needs_gradient_of for term in terms)),
        interpolation_weight=lambda: torch.full((len(batch.real),), 0.5, device=batch.real.device),
    )
    with phase.precision.autocast():
        loss = torch.stack([term.weight * term(round) for term in terms]).sum()
    scale = 2.0**10 if phase.scaler.is_enabled() else 1.0
    (loss * scale).backward()
    for parameter in phase.network.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale


def _gradients(player: nn.Module) -> Values:
    given = {name: p.grad.to(torch.float64, copy=True) for name, p in player.named_parameters() if p.grad is not None}
    norms = {name: float(gradient.norm()) for name, gradient in given.items()}
    return {name: gradient for name, gradient in given.items() if norms[name] > NOTHING * max(norms.values())}


def _step(trainer: Trainer, endless: Any) -> None:
    trainer.step(next(endless))


def _keep(found: Values, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    if isinstance(output, Tensor):
        found.setdefault(name, output.detach().to(torch.float64, copy=True))  # the next layer may work in place


def _is_leaf(module: nn.Module) -> bool:
    return not list(module.children()) and bool(list(module.parameters()))
