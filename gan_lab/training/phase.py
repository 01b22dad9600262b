"""A player's turn."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from gan_lab.data.loader import Batch
from gan_lab.losses.base import LossContext, LossTerm
from gan_lab.training.loss_context import GAN, BatchNoise, SharedFakes, StepContext
from gan_lab.training.precision import Precision

MetricHook = Callable[[LossContext], dict[str, Tensor]]
"""Looks at a round after its backward pass, without gradient, and may have figures to log."""

DECAY_KEYS = ("alpha", "momentum")
"""How RMSprop and SGD call the share of the past that Adam calls ``betas``."""


class Phase:
    """A player, its optimizer, its scaler, its terms.

    Terms of every step make one update together. Lazy ones (``every`` > 1) make an update of their own after it, those of the
    same interval together, as StyleGAN2's regularisation phases do; the optimizer's rate and memory are corrected for the
    additional updates (Karras et al. 2020, appendix B), so that time as it sees it passes as it would without them.

    Args:
        name: prefix of the figures, ``d`` or ``g``.
        player: the network this phase trains.
        idle: the other one, frozen meanwhile.
        optimizer: over the player's parameters.
        terms: what the player minimises, by the name each is logged under.
        observers: who looks at each round.
        precision: the autocast and the scaler.
        every: the player moves in every n-th iteration; ``n_critic`` for the generator.
        accumulate: parts a batch is split into; their gradients add up to that of the whole batch, but for what mixes the
            images of a batch (batch normalisation, relativistic averages, minibatch deviation, feature matching).
        max_grad_norm: largest norm of the player's gradient, or None.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        opponent: nn.Module,
        optimizer: torch.optim.Optimizer,
        terms: Mapping[str, LossTerm],
        metric_hooks: Sequence[MetricHook],
        precision: Precision,
        *,
        update_interval: int = 1,
        num_micro_batches: int = 1,
        max_grad_norm: float | None = None,
    ) -> None:
        self.name = name
        self.network = network
        self.opponent = opponent
        self.optimizer = optimizer
        self.terms = dict(terms)
        self.metric_hooks = metric_hooks
        self.precision = precision
        self.scaler = precision.make_scaler()
        self.update_interval = update_interval
        self.num_micro_batches = num_micro_batches
        self.max_grad_norm = max_grad_norm
        self.steps = 0
        self.intervals = sorted({1} | {term.interval for term in terms.values()})
        self._last_finite: dict[int, dict[str, Tensor]] = {}
        _correct_for_lazy_updates(optimizer, [n for n in self.intervals if n > 1])
        self._base_rates = [group["lr"] for group in optimizer.param_groups]

    def due(self, iteration: int) -> bool:
        """Whether the player moves in this iteration, counted from 0: with ``every=5`` in the 5th, the 10th, ..."""
        return (iteration + 1) % self.update_interval == 0

    def step(self, gan: GAN, batch: Batch, shared_fakes: SharedFakes | None = None) -> dict[str, Tensor]:
        """One update and the lazy ones due. Its figures stay on the device, unread, so that nothing waits for them."""
        hands_over = shared_fakes is not None and self.network is gan.discriminator
        self.opponent.requires_grad_(hands_over)  # fakes for the generator's turn carry its graph
        self.network.requires_grad_(True)
        figures: dict[str, Tensor] = {}
        for interval in self.intervals:
            if self.steps % interval == 0:  # loss and norm are those of the first, the main update
                figures = self._update(gan, batch, interval, shared_fakes if interval == 1 else None) | figures
        self.steps += 1
        return {f"{self.name}/{name}": value for name, value in figures.items()}

    def with_terms(self, chosen: Callable[[LossTerm], bool]) -> Phase:
        """The same phase with some of its terms, to see what they cost."""
        phase = copy.copy(self)
        phase.terms = {name: term for name, term in self.terms.items() if chosen(term)}
        phase.intervals = sorted({term.interval for term in phase.terms.values()})
        return phase

    def reset_optimizer_state(self) -> None:
        """Begin with a fresh optimizer state."""
        self.optimizer.state.clear()

    def set_lr_factor(self, factor: float) -> None:
        """Learning rate := configured rate x ``factor``."""
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    def optimizer_metrics(self) -> dict[str, float]:
        """What the player's steps are made with at the moment; waits for the device under loss scaling."""
        settings = {f"{self.name}/learning_rate": float(self.optimizer.param_groups[0]["lr"])}
        return settings | ({f"{self.name}/loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {})

    def has_diverged(self, figures: Mapping[str, float]) -> bool:
        """Whether figures read from the meter tell of a loss that is no longer finite, or that no scale helps any more."""
        loss, skipped = figures.get(f"{self.name}/loss", 0.0), figures.get(f"{self.name}/skipped_steps", 0.0)
        return not math.isfinite(loss) or (skipped == 1.0 and self.scaler.get_scale() < 1.0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "precision": self.precision.state_dict(),
            "steps": self.steps,
            "latest": self._last_finite,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        configured = [dict(group) for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, wanted in zip(self.optimizer.param_groups, configured, strict=True):
            group.update({key: value for key, value in wanted.items() if key != "params"})  # a resume may change them
        self.scaler.load_state_dict(state["scaler"])
        self.precision.load_state_dict(state["precision"])
        self.steps = state["steps"]
        device = self.precision.device
        self._last_finite = {
            n: {name: value.to(device) for name, value in latest.items()} for n, latest in state["latest"].items()
        }

    def _update(self, gan: GAN, batch: Batch, interval: int, shared_fakes: SharedFakes | None) -> dict[str, Tensor]:
        """By the terms computed every ``interval`` steps."""
        terms = {name: term for name, term in self.terms.items() if term.interval == interval}
        observers = self.metric_hooks if interval == 1 else ()
        self.optimizer.zero_grad(set_to_none=True)
        parts = [self._backward(round, terms, observers) for round in self._contexts(gan, batch, terms, shared_fakes)]
        names = dict.fromkeys(name for part in parts for name in part)
        figures = {name: torch.stack([part[name] for part in parts if name in part]).mean() for name in names}
        gan.processes.all_reduce_mean_([p.grad for p in self.network.parameters() if p.grad is not None])
        figures["gradient_norm"] = self._clip_gradient()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for term in self.terms.values():
            term.after_step(self.network)
        return self._keep_finite(figures, interval) if self.scaler.is_enabled() else figures

    def _contexts(
        self, gan: GAN, batch: Batch, terms: Mapping[str, LossTerm], shared_fakes: SharedFakes | None
    ) -> Iterator[StepContext]:
        """The batch in ``gradient_accumulation_steps`` parts, with what is random drawn whole, so that parts and whole see the same."""
        needs = frozenset().union(*(term.needs_gradient_of for term in terms.values()))
        generator_turn, lazy = self.network is gan.generator, all(term.interval > 1 for term in terms.values())
        real, labels = batch.real, gan.labels.encode(batch.labels)
        whole = len(real) * gan.processes.world_size
        draws, first = BatchNoise(gan, whole, real.device), gan.processes.shard(whole).start
        scale = self.scaler.scale(torch.ones((), device=real.device)) if self.scaler.is_enabled() else None
        size = len(real) // self.num_micro_batches
        for start in range(0, len(real), size):
            part, rows = slice(start, start + size), slice(first + start, first + start + size)
            yield StepContext(
                gan,
                real[part],
                draws.generator_inputs(batch, part, rows)
                if shared_fakes is None or shared_fakes.latents is None
                else shared_fakes.latents,
                None if labels is None else labels[part],
                generator_step=generator_turn,
                needs_gradient_of=needs,
                scale=scale,
                joint_pass=gan.joint_pass and not (generator_turn or needs or lazy),
                shared_fakes=shared_fakes,
                interpolation_weight=lambda rows=rows: draws.interpolation_weight[rows],  # type: ignore[misc]
            )

    def _backward(
        self, round: StepContext, terms: Mapping[str, LossTerm], observers: Sequence[MetricHook]
    ) -> dict[str, Tensor]:
        with self.precision.autocast():
            values = {name: term(round) for name, term in terms.items()}
            loss = torch.stack([term.weight * term.interval * values[name] for name, term in terms.items()]).sum()
        self.scaler.scale(loss / self.num_micro_batches).backward()
        with torch.no_grad():
            figures = {"loss": loss, **values}
            for observer in observers:
                figures |= observer(round)
        return {name: value.detach() for name, value in figures.items()}

    def _clip_gradient(self) -> Tensor:
        """Clip the player's gradient; its norm before that."""
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if self.max_grad_norm is not None:
            clip_grads_with_norm_(self.network.parameters(), self.max_grad_norm, norm)
        return norm

    def _keep_finite(self, figures: dict[str, Tensor], interval: int) -> dict[str, Tensor]:
        """A step that the scaler has skipped repeats the last figures: an overflow is no measurement."""
        finite = figures["gradient_norm"].isfinite()
        latest = self._last_finite.setdefault(interval, {})
        figures = {n: torch.where(finite, value, latest.get(n, torch.zeros_like(value))) for n, value in figures.items()}
        latest |= figures
        return {**figures, "skipped_steps": 1.0 - finite.float()}


def _correct_for_lazy_updates(optimizer: torch.optim.Optimizer, intervals: Sequence[int]) -> None:
    """``rate * c`` and ``memory ** c``, c being the share of all updates that are not lazy: 16/17 for one interval of 16."""
    share = 1.0 / (1.0 + sum(1.0 / interval for interval in intervals))
    for group in optimizer.param_groups if intervals else ():
        group["lr"] *= share
        if "betas" in group:
            group["betas"] = tuple(beta**share for beta in group["betas"])
        for key in DECAY_KEYS:
            if key in group:
                group[key] = group[key] ** share
