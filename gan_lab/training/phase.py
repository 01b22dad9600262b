"""A player's turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from gan_lab.data.stream import Batch
from gan_lab.terms.base import RoundView, Term
from gan_lab.training.precision import Precision
from gan_lab.training.round import Game, Round

Figures = Callable[[RoundView], dict[str, Tensor]]


class Phase:
    """A player, its optimizer, its scaler, its terms.

    Args:
        name: prefix of the figures, ``d`` or ``g``.
        player: the network this phase trains.
        idle: the other one, frozen meanwhile.
        optimizer: over the player's parameters.
        terms: what the player minimises, by the name each is logged under.
        figures: further figures of a round, taken without gradient.
        precision: the autocast and the scaler.
        every: the player moves in every n-th iteration; ``n_critic`` for the generator.
        accumulate: parts a batch is split into; their gradients add up to that of the whole batch.
        gradient_clip: largest norm of the player's gradient, or None.
    """

    def __init__(
        self,
        name: str,
        player: nn.Module,
        idle: nn.Module,
        optimizer: torch.optim.Optimizer,
        terms: Mapping[str, Term],
        figures: Figures,
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
        self.figures = figures
        self.precision = precision
        self.scaler = precision.scaler()
        self.every = every
        self.accumulate = accumulate
        self.gradient_clip = gradient_clip
        self.steps = 0
        self._norm = torch.zeros((), device=precision.device)
        self._base_rates = [group["lr"] for group in optimizer.param_groups]

    def due(self, iteration: int) -> bool:
        """Whether the player moves in this iteration, counted from 0: with ``every=5`` in the 5th, the 10th, ..."""
        return (iteration + 1) % self.every == 0

    def step(self, game: Game, batch: Batch) -> dict[str, Tensor]:
        """One update. Its figures stay on the device, unread, so that nothing waits for them."""
        terms = {name: term for name, term in self.terms.items() if self.steps % term.every == 0}
        self.idle.requires_grad_(False)
        self.player.requires_grad_(True)
        self.optimizer.zero_grad(set_to_none=True)
        parts = [self._backward(round, terms) for round in self._rounds(game, batch, terms)]
        figures = self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for term in terms.values():
            term.after_step(self.player)
        self.steps += 1
        means = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        return {f"{self.name}/{name}": value for name, value in (means | figures).items()}

    def set_rate(self, factor: float) -> None:
        """Learning rate := configured rate x ``factor``."""
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    def settings(self) -> dict[str, float]:
        """What the player's steps are made with at the moment; waits for the device under loss scaling."""
        settings = {f"{self.name}/learning_rate": float(self.optimizer.param_groups[0]["lr"])}
        return settings | ({f"{self.name}/loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {})

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        configured = [dict(group) for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, wanted in zip(self.optimizer.param_groups, configured, strict=True):
            group.update({key: value for key, value in wanted.items() if key != "params"})  # a resume may change them
        self.scaler.load_state_dict(state["scaler"])
        self.steps = state["steps"]

    def _rounds(self, game: Game, batch: Batch, terms: Mapping[str, Term]) -> Iterator[Round]:
        """The batch with fresh latents, in ``accumulate`` parts. Drawn whole, so that parts and whole see the same."""
        needs = frozenset().union(*(term.needs_gradient_of for term in terms.values()))
        latents = game.latents.draw(len(batch.real), batch.real.device)
        for real, part in zip(batch.real.chunk(self.accumulate), latents.chunk(self.accumulate), strict=True):
            yield Round(game, real, part, generator_turn=self.player is game.generator, needs_gradient_of=needs)

    def _backward(self, round: Round, terms: Mapping[str, Term]) -> dict[str, Tensor]:
        with self.precision.autocast():
            values = {name: term(round) for name, term in terms.items()}
            loss = torch.stack([term.weight * term.every * values[name] for name, term in terms.items()]).sum()
        self.scaler.scale(loss / self.accumulate).backward()
        with torch.no_grad():
            figures = {"loss": loss, **values, **self.figures(round)}
        return {name: value.detach() for name, value in figures.items()}

    def _clip(self) -> dict[str, Tensor]:
        """Clip the player's gradient; its norm before that. Under loss scaling also whether the step will be skipped."""
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.player.parameters() if p.grad is not None])
        if self.gradient_clip is not None:
            clip_grads_with_norm_(self.player.parameters(), self.gradient_clip, norm)
        if not self.scaler.is_enabled():
            return {"gradient_norm": norm}
        finite = norm.isfinite()
        self._norm = torch.where(finite, norm, self._norm)  # a skipped step repeats the last norm: its own would be infinite
        return {"gradient_norm": self._norm, "skipped": 1.0 - finite.float()}
