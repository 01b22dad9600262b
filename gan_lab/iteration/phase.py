"""One network's part of a training iteration: its loss terms, backward pass and optimizer step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from gan_lab.data.loader import Batch
from gan_lab.iteration.capturable_optimizer import make_capturable
from gan_lab.iteration.conditional_step import step_if
from gan_lab.iteration.gan import GAN, BatchNoise, SharedFakes
from gan_lab.iteration.gradient_reduction import OverlappedReduction
from gan_lab.iteration.precision import Precision
from gan_lab.iteration.step_context import StepContext
from gan_lab.losses.base import LossTerm

MetricHook = Callable[[StepContext], dict[str, Tensor]]
"""Called with the context after its backward pass, without gradients; returns further metrics by name."""

SKIPPED = "skipped_steps"
"""The metric of a phase that is 1 in a step that was skipped. Its mean is recorded unless it is 0."""

DECAY_KEYS = ("alpha", "momentum")
"""RMSprop's and SGD's names for the decay that Adam calls ``betas``."""


class Phase:
    """A network with its optimizer, gradient scaler and loss terms (StyleGAN2-ADA's word for it).

    An update whose gradients are not all finite is skipped: it changes neither weights nor the optimizer's state.

    The terms of every step share one update. Lazy terms (``interval`` > 1) get an update of their own after it, terms of the
    same interval together, as in StyleGAN2's regularization phases. The optimizer's learning rate and decay are corrected for
    these additional updates (Karras et al. 2020, appendix B).

    Args:
        name: prefix of its metrics: ``d``, ``g`` or ``pretraining``.
        network: the network this phase trains.
        opponent: the other network, frozen meanwhile.
        optimizer: over the network's parameters.
        terms: loss terms by the name each is logged under.
        metric_hooks: called with each context.
        precision: autocast and gradient scaler.
        update_interval: the network is updated in every n-th iteration; ``n_critic`` for the generator.
        num_micro_batches: parts a batch is split into. Their gradients add up to the whole batch's, except for layers and
            losses that mix the images of a batch (batch normalization, relativistic averages, minibatch standard deviation,
            feature matching).
        max_grad_norm: norm that the network's gradient is clipped to, or None.
        overlapped_reduction: averages the gradients over several processes during the backward pass. None: they are averaged
            in one message after it, if there are several processes.
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
        overlapped_reduction: OverlappedReduction | None = None,
    ) -> None:
        self.name = name
        self.network = network
        self.opponent = opponent
        self.optimizer = optimizer
        self.terms = dict(terms)
        for term in self.terms.values():
            term.to(precision.device)
        self.metric_hooks = metric_hooks
        self.precision = precision
        self.scaler = precision.make_scaler()
        self.update_interval = update_interval
        self.num_micro_batches = num_micro_batches
        self.max_grad_norm = max_grad_norm
        self.overlapped_reduction = overlapped_reduction
        self.steps = 0
        self.intervals = sorted({1} | {term.interval for term in terms.values()})
        self._skipped_in_a_row = {interval: torch.zeros((), device=precision.device) for interval in self.intervals}
        self._main_fraction = 1.0 / (1.0 + sum(1.0 / interval for interval in self.intervals if interval > 1))
        _correct_for_lazy_updates(optimizer, self._main_fraction)
        self._weights: dict[str, float | Tensor] = {name: term.weight for name, term in self.terms.items()}
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        self._lr_factor = 1.0
        if precision.device.type == "cuda":
            make_capturable(optimizer, precision.device)

    @property
    def base_rate(self) -> float:
        """The configured learning rate with the correction for lazy updates, before the factor of :meth:`set_lr_factor`."""
        return self._base_rates[0]

    def due(self, iteration: int) -> bool:
        """Whether the network is updated in this iteration, counted from 0: with ``update_interval=5`` in the 5th, 10th, ..."""
        return (iteration + 1) % self.update_interval == 0

    @property
    def due_intervals(self) -> list[int]:
        """The intervals of the terms that the next step computes."""
        return [interval for interval in self.intervals if self.steps % interval == 0]

    def step(self, gan: GAN, batch: Batch, shared_fakes: SharedFakes | None = None) -> dict[str, Tensor]:
        """One update, and the lazy updates that are due. :meth:`advance` has to follow.

        Returns:
            Metrics as tensors on the device; nothing waits for the device. ``skipped_steps`` is 1 if one of its updates was
            skipped, else 0.
        """
        stores_fakes = shared_fakes is not None and self.network is gan.discriminator
        self.opponent.requires_grad_(stores_fakes)  # fakes for the generator step carry the generator's graph
        self.network.requires_grad_(True)
        metrics: dict[str, Tensor] = {}
        for interval in self.due_intervals:  # loss and gradient norm are those of the first, the main update
            metrics = self._update(gan, batch, interval, shared_fakes if interval == 1 else None) | metrics
        metrics[SKIPPED] = torch.stack([self._skipped_in_a_row[interval] > 0 for interval in self.due_intervals]).any().float()
        return {f"{self.name}/{name}": value for name, value in metrics.items()}

    def advance(self) -> None:
        """Count a step."""
        self.steps += 1

    def abandon_step(self) -> None:
        """Forget what an interrupted step has left on the host."""
        state, self.scaler = self.scaler.state_dict(), self.precision.make_scaler()
        self.scaler.load_state_dict(state)
        if self.overlapped_reduction is not None:
            self.overlapped_reduction.abandon()

    def with_terms(self, chosen: Callable[[LossTerm], bool]) -> Phase:
        """A copy of the phase with some of its terms, for measuring what they cost."""
        phase = copy.copy(self)
        phase.terms = {name: term for name, term in self.terms.items() if chosen(term)}
        phase.intervals = sorted({term.interval for term in phase.terms.values()})
        return phase

    def reset_optimizer_state(self) -> None:
        """Forget the optimizer's moments."""
        self.optimizer.state.clear()

    def set_lr_factor(self, factor: float) -> None:
        """Set the learning rate to the configured rate times ``factor``."""
        if factor == self._lr_factor:
            return
        self._lr_factor = factor
        self._apply_learning_rates()

    def set_learning_rate(self, rate: float) -> None:
        """Change the configured learning rate, which the correction for lazy updates and the factor multiply."""
        self._base_rates = [rate * self._main_fraction] * len(self._base_rates)
        self._apply_learning_rates()

    def set_betas(self, betas: Sequence[float]) -> None:
        """Change the configured betas of an :class:`~gan_lab.iteration.capturable_optimizer.AdamWithTensorBetas`."""
        for group in self.optimizer.param_groups:
            for tensor, beta in zip(group["betas"], betas, strict=True):
                tensor.fill_(beta**self._main_fraction)

    def set_weight(self, term: str, weight: float) -> None:
        """Change the weight of a term."""
        current = self._weights[term]
        if not isinstance(current, Tensor):
            current = self._weights[term] = torch.zeros((), device=self.precision.device)
        current.fill_(weight)

    def _apply_learning_rates(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * self._lr_factor)
            else:
                group["lr"] = rate * self._lr_factor

    def optimizer_metrics(self) -> dict[str, float]:
        """Learning rate and loss scale; under loss scaling this waits for the device."""
        metrics = {f"{self.name}/learning_rate": self._base_rates[0] * self._lr_factor}
        return metrics | ({f"{self.name}/loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {})

    def skipped_in_a_row(self) -> int:
        """How many of its latest updates were skipped, one after the other; of lazy terms and others the larger number.

        Waits for the device.
        """
        return int(torch.stack(list(self._skipped_in_a_row.values())).max())

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "precision": self.precision.state_dict(),
            "steps": self.steps,
            "lr_factor": self._lr_factor,
            "skipped_in_a_row": dict(self._skipped_in_a_row),
            "terms": {name: state for name, term in self.terms.items() if (state := term.state_dict())},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        configured = [{key: value for key, value in group.items() if key != "params"} for group in self.optimizer.param_groups]
        saved = [group | wanted for group, wanted in zip(state["optimizer"]["param_groups"], configured, strict=True)]
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": saved})  # a resume may change the options
        for group, wanted in zip(self.optimizer.param_groups, configured, strict=True):
            group.update(wanted)  # the same tensors as before
        self.set_lr_factor(state.get("lr_factor", self._lr_factor))  # a phase of a stage that is over keeps its last rate
        self.scaler.load_state_dict(state["scaler"])
        self.precision.load_state_dict(state["precision"])
        self.steps = state["steps"]
        for name, saved in state.get("terms", {}).items():
            if name in self.terms:  # a resume may change the terms
                self.terms[name].load_state_dict(saved)
        for interval, count in state.get("skipped_in_a_row", {}).items():  # older checkpoints have no such entry
            if interval in self._skipped_in_a_row:
                self._skipped_in_a_row[interval].copy_(count)

    def _update(self, gan: GAN, batch: Batch, interval: int, shared_fakes: SharedFakes | None) -> dict[str, Tensor]:
        """One optimizer step on the terms with this ``interval``."""
        terms = {name: term for name, term in self.terms.items() if term.interval == interval}
        hooks = self.metric_hooks if interval == 1 else ()
        self.optimizer.zero_grad(set_to_none=True)
        parts = [self._backward(context, terms, hooks) for context in self._contexts(gan, batch, terms, shared_fakes)]
        names = dict.fromkeys(name for part in parts for name in part)
        metrics = {name: torch.stack([part[name] for part in parts if name in part]).mean() for name in names}
        if self.overlapped_reduction is None:
            gan.processes.all_reduce_mean_([p.grad for p in self.network.parameters() if p.grad is not None])
        else:
            self.overlapped_reduction.finish()
        metrics["gradient_norm"] = norm = self._clip_gradient()
        is_finite = norm.isfinite()
        step_if(is_finite, self.optimizer)
        self.scaler.update()
        self._skipped_in_a_row[interval].add_(1.0).mul_(~is_finite)
        for term in self.terms.values():
            term.after_step(self.network)
        return metrics

    def _contexts(
        self, gan: GAN, batch: Batch, terms: Mapping[str, LossTerm], shared_fakes: SharedFakes | None
    ) -> Iterator[StepContext]:
        """One context for each micro-batch. Random numbers are drawn for the whole batch, so that splitting changes nothing."""
        needs = frozenset().union(*(term.needs_gradient_of for term in terms.values()))
        generator_step, lazy = self.network is gan.generator, all(term.interval > 1 for term in terms.values())
        real, labels = batch.real, gan.labels.encode(batch.labels)
        whole = len(real) * gan.processes.world_size
        noise, first = BatchNoise(gan, whole, real.device), gan.processes.shard(whole).start
        scale = self.scaler.scale(torch.ones((), device=real.device)) if self.scaler.is_enabled() else None
        size = len(real) // self.num_micro_batches
        for start in range(0, len(real), size):
            part, rows = slice(start, start + size), slice(first + start, first + start + size)
            yield StepContext(
                gan,
                real[part],
                noise.generator_inputs(batch, part, rows)
                if shared_fakes is None or shared_fakes.latents is None
                else shared_fakes.latents,
                None if labels is None else labels[part],
                generator_step=generator_step,
                needs_gradient_of=needs,
                scale=scale,
                joint_pass=gan.joint_pass and not (generator_step or needs or lazy),
                shared_fakes=shared_fakes,
                micro_batch=start // size,
                interpolation_weight=lambda rows=rows: noise.interpolation_weight[rows],  # type: ignore[misc]
            )

    def _backward(self, context: StepContext, terms: Mapping[str, LossTerm], hooks: Sequence[MetricHook]) -> dict[str, Tensor]:
        with self.precision.autocast():
            values = {name: term(context) for name, term in terms.items()}
            loss = torch.stack([self._weights[name] * term.interval * values[name] for name, term in terms.items()]).sum()
        if self.overlapped_reduction is not None and context.micro_batch == self.num_micro_batches - 1:
            self.overlapped_reduction.start(tuple(terms))
        self.scaler.scale(loss / self.num_micro_batches).backward()
        with torch.no_grad():
            metrics = {"loss": loss, **values}
            for hook in hooks:
                metrics |= hook(context)
        return {name: value.detach() for name, value in metrics.items()}

    def _clip_gradient(self) -> Tensor:
        """Clip the network's gradient; returns its norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if self.max_grad_norm is not None:
            clip_grads_with_norm_(self.network.parameters(), self.max_grad_norm, norm)
        return norm


def _correct_for_lazy_updates(optimizer: torch.optim.Optimizer, fraction: float) -> None:
    """``lr * fraction`` and ``decay ** fraction``; the fraction is that of updates that are not lazy."""
    for group in optimizer.param_groups if fraction < 1.0 else ():
        group["lr"] *= fraction
        if "betas" in group:
            group["betas"] = tuple(beta**fraction for beta in group["betas"])
        for key in DECAY_KEYS:
            if key in group:
                group[key] = group[key] ** fraction
