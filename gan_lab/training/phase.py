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
from gan_lab.losses.base import RoundView, Term
from gan_lab.training.loss_context import Draws, Game, Handed, Round
from gan_lab.training.precision import Precision

Observer = Callable[[RoundView], dict[str, Tensor]]
"""Looks at a round after its backward pass, without gradient, and may have figures to log."""

MEMORY_FACTORS = ("alpha", "momentum")
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
        gradient_clip: largest norm of the player's gradient, or None.
    """

    def __init__(
        self,
        name: str,
        player: nn.Module,
        idle: nn.Module,
        optimizer: torch.optim.Optimizer,
        terms: Mapping[str, Term],
        observers: Sequence[Observer],
        precision: Precision,
        *,
        every: int = 1,
        accumulate: int = 1,
        gradient_clip: float | None = None,
    ) -> None:
        self.name = name
        self.player = player
        self.idle = idle
        self.optimizer = optimizer
        self.terms = dict(terms)
        self.observers = observers
        self.precision = precision
        self.scaler = precision.scaler()
        self.every = every
        self.accumulate = accumulate
        self.gradient_clip = gradient_clip
        self.steps = 0
        self.intervals = sorted({1} | {term.every for term in terms.values()})
        self._latest: dict[int, dict[str, Tensor]] = {}
        _correct_for_lazy_updates(optimizer, [n for n in self.intervals if n > 1])
        self._base_rates = [group["lr"] for group in optimizer.param_groups]

    def due(self, iteration: int) -> bool:
        """Whether the player moves in this iteration, counted from 0: with ``every=5`` in the 5th, the 10th, ..."""
        return (iteration + 1) % self.every == 0

    def step(self, game: Game, batch: Batch, handed: Handed | None = None) -> dict[str, Tensor]:
        """One update and the lazy ones due. Its figures stay on the device, unread, so that nothing waits for them."""
        hands_over = handed is not None and self.player is game.discriminator
        self.idle.requires_grad_(hands_over)  # fakes for the generator's turn carry its graph
        self.player.requires_grad_(True)
        figures: dict[str, Tensor] = {}
        for interval in self.intervals:
            if self.steps % interval == 0:  # loss and norm are those of the first, the main update
                figures = self._update(game, batch, interval, handed if interval == 1 else None) | figures
        self.steps += 1
        return {f"{self.name}/{name}": value for name, value in figures.items()}

    def with_terms(self, chosen: Callable[[Term], bool]) -> Phase:
        """The same phase with some of its terms, to see what they cost."""
        phase = copy.copy(self)
        phase.terms = {name: term for name, term in self.terms.items() if chosen(term)}
        phase.intervals = sorted({term.every for term in phase.terms.values()})
        return phase

    def forget(self) -> None:
        """Begin with a fresh optimizer state."""
        self.optimizer.state.clear()

    def set_rate(self, factor: float) -> None:
        """Learning rate := configured rate x ``factor``."""
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    def settings(self) -> dict[str, float]:
        """What the player's steps are made with at the moment; waits for the device under loss scaling."""
        settings = {f"{self.name}/learning_rate": float(self.optimizer.param_groups[0]["lr"])}
        return settings | ({f"{self.name}/loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {})

    def is_broken(self, figures: Mapping[str, float]) -> bool:
        """Whether figures read from the meter tell of a loss that is no longer finite, or that no scale helps any more."""
        loss, skipped = figures.get(f"{self.name}/loss", 0.0), figures.get(f"{self.name}/skipped", 0.0)
        return not math.isfinite(loss) or (skipped == 1.0 and self.scaler.get_scale() < 1.0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "precision": self.precision.state_dict(),
            "steps": self.steps,
            "latest": self._latest,
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
        self._latest = {n: {name: value.to(device) for name, value in latest.items()} for n, latest in state["latest"].items()}

    def _update(self, game: Game, batch: Batch, interval: int, handed: Handed | None) -> dict[str, Tensor]:
        """By the terms computed every ``interval`` steps."""
        terms = {name: term for name, term in self.terms.items() if term.every == interval}
        observers = self.observers if interval == 1 else ()
        self.optimizer.zero_grad(set_to_none=True)
        parts = [self._backward(round, terms, observers) for round in self._rounds(game, batch, terms, handed)]
        names = dict.fromkeys(name for part in parts for name in part)
        figures = {name: torch.stack([part[name] for part in parts if name in part]).mean() for name in names}
        game.ranks.average_([p.grad for p in self.player.parameters() if p.grad is not None])
        figures["gradient_norm"] = self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for term in self.terms.values():
            term.after_step(self.player)
        return self._without_overflow(figures, interval) if self.scaler.is_enabled() else figures

    def _rounds(self, game: Game, batch: Batch, terms: Mapping[str, Term], handed: Handed | None) -> Iterator[Round]:
        """The batch in ``accumulate`` parts, with what is random drawn whole, so that parts and whole see the same."""
        needs = frozenset().union(*(term.needs_gradient_of for term in terms.values()))
        generator_turn, lazy = self.player is game.generator, all(term.every > 1 for term in terms.values())
        real, labels = batch.real, game.labels.encode(batch.labels)
        whole = len(real) * game.ranks.count
        draws, first = Draws(game, whole, real.device), game.ranks.part(whole).start
        scale = self.scaler.scale(torch.ones((), device=real.device)) if self.scaler.is_enabled() else None
        size = len(real) // self.accumulate
        for start in range(0, len(real), size):
            part, rows = slice(start, start + size), slice(first + start, first + start + size)
            yield Round(
                game,
                real[part],
                draws.inputs(batch, part, rows) if handed is None or handed.latents is None else handed.latents,
                None if labels is None else labels[part],
                generator_turn=generator_turn,
                needs_gradient_of=needs,
                scale=scale,
                joint=game.joint_passes and not (generator_turn or needs or lazy),
                handed=handed,
                uniform=lambda rows=rows: draws.uniform[rows],  # type: ignore[misc]
            )

    def _backward(self, round: Round, terms: Mapping[str, Term], observers: Sequence[Observer]) -> dict[str, Tensor]:
        with self.precision.autocast():
            values = {name: term(round) for name, term in terms.items()}
            loss = torch.stack([term.weight * term.every * values[name] for name, term in terms.items()]).sum()
        self.scaler.scale(loss / self.accumulate).backward()
        with torch.no_grad():
            figures = {"loss": loss, **values}
            for observer in observers:
                figures |= observer(round)
        return {name: value.detach() for name, value in figures.items()}

    def _clip(self) -> Tensor:
        """Clip the player's gradient; its norm before that."""
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.player.parameters() if p.grad is not None])
        if self.gradient_clip is not None:
            clip_grads_with_norm_(self.player.parameters(), self.gradient_clip, norm)
        return norm

    def _without_overflow(self, figures: dict[str, Tensor], interval: int) -> dict[str, Tensor]:
        """A step that the scaler has skipped repeats the last figures: an overflow is no measurement."""
        finite = figures["gradient_norm"].isfinite()
        latest = self._latest.setdefault(interval, {})
        figures = {n: torch.where(finite, value, latest.get(n, torch.zeros_like(value))) for n, value in figures.items()}
        latest |= figures
        return {**figures, "skipped": 1.0 - finite.float()}


def _correct_for_lazy_updates(optimizer: torch.optim.Optimizer, intervals: Sequence[int]) -> None:
    """``rate * c`` and ``memory ** c``, c being the share of all updates that are not lazy: 16/17 for one interval of 16."""
    share = 1.0 / (1.0 + sum(1.0 / interval for interval in intervals))
    for group in optimizer.param_groups if intervals else ():
        group["lr"] *= share
        if "betas" in group:
            group["betas"] = tuple(beta**share for beta in group["betas"])
        for key in MEMORY_FACTORS:
            if key in group:
                group[key] = group[key] ** share
