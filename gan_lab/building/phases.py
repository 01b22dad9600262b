"""Builds the phases of an iteration: loss terms, optimizer and metrics of each network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig

from gan_lab.building.warnings import warn_of_unstable_choices
from gan_lab.config import instantiate, scheduled_entries
from gan_lab.iteration.accuracy import Accuracy
from gan_lab.iteration.augment_feedback import AugmentFeedback
from gan_lab.iteration.capturable_optimizer import AdamWithTensorBetas
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.gradient_reduction import overlapped_reduction
from gan_lab.iteration.phase import MetricHook, Phase
from gan_lab.iteration.precision import Precision
from gan_lab.losses.adversarial import DiscriminatorLoss
from gan_lab.losses.base import LossTerm
from gan_lab.losses.content import PairedLoss
from gan_lab.losses.path_length import PathLengthPenalty
from gan_lab.losses.penalties import DriftPenalty, GradientNormPenalty, R1Penalty, R2Penalty
from gan_lab.models.latents import NormalLatents

OF_THE_OTHER = {
    "generator": (DiscriminatorLoss, DriftPenalty, GradientNormPenalty, R1Penalty, R2Penalty),
    "discriminator": (PairedLoss, PathLengthPenalty),
}
"""For each network, the terms that train only the other one."""


def build_phases(cfg: DictConfig, gan: GAN, precision: Precision) -> tuple[Phase, Phase]:
    """The discriminator's phase and the generator's, which runs once every ``n_critic`` iterations.

    Raises:
        ValueError: a loss term does not work with a network or with the task.
    """
    terms = {name: build_terms(cfg, name) for name in ("discriminator", "generator")}
    paired = [name for name, term in terms["generator"].items() if isinstance(term, PairedLoss)]
    if paired and isinstance(gan.latents, NormalLatents):
        raise ValueError(
            f"loss: {paired[0]} compares each generated image with its target image, which images generated from latents do "
            "not have; it needs super-resolution, such as degradation=bicubic"
        )
    accuracy = Accuracy(terms["discriminator"].values())
    warn_of_unstable_choices(gan.discriminator, terms["discriminator"])
    feedback = AugmentFeedback(gan, accuracy, cfg.gradient_accumulation_steps, gather=bool(cfg.augment))

    scheduled = {argument["key"] for _, entry in scheduled_entries(cfg) for argument in entry["sets"]}

    def build_phase(name: str, other: str, hooks: list[MetricHook], update_interval: int) -> Phase:
        network, opponent = getattr(gan, name), getattr(gan, other)
        for term in terms[name].values():
            term.check(network)
        optimizer = build_optimizer(cfg.optimizer[name], f"optimizer.{name}", network)
        if f"optimizer.{name}.betas" in scheduled:
            optimizer = AdamWithTensorBetas(optimizer)
        return Phase(
            name[0],
            network,
            opponent,
            optimizer,
            terms[name],
            hooks,
            precision,
            update_interval=update_interval,
            num_micro_batches=cfg.gradient_accumulation_steps,
            max_grad_norm=cfg.max_grad_norm,
            overlapped_reduction=overlapped_reduction(network, opponent, gan.processes, precision.device),
        )

    return (
        build_phase("discriminator", "generator", [accuracy.discriminator_metrics, feedback], 1),
        build_phase("generator", "discriminator", [accuracy.generator_metrics], cfg.n_critic),
    )


def build_optimizer(node: DictConfig, where: str, network: Any) -> Any:
    """The optimizer of a network's parameters, from a configuration section; ``where`` is its key, for error messages."""
    optimizer = instantiate(node, where)
    numbers = {"betas": tuple(map(float, betas))} if (betas := node.get("betas")) else {}  # Adam refuses an int beside a float
    return optimizer(network.parameters(), **numbers)


def term_sections(cfg: DictConfig, network: str) -> Iterator[tuple[str, str, DictConfig]]:
    """Name, key and section of each loss term of ``network``, from loss, penalty and conditioning."""
    sections = {"loss": cfg.loss, "penalty": cfg.penalty, "conditioning.terms": cfg.conditioning.get("terms", {})}
    for group, section in sections.items():
        for name, node in (section.get(network) or {}).items():
            yield name, f"{group}.{network}.{name}", node


def build_terms(cfg: DictConfig, network: str) -> dict[str, LossTerm]:
    """The loss terms of ``network`` (``generator`` or ``discriminator``) by name, from loss, penalty and conditioning.

    Raises:
        ValueError: no term is computed in every step, or one is a term of the other network.
    """
    terms = {}
    for name, key, node in term_sections(cfg, network):
        terms[name] = instantiate(node, key)
        if isinstance(terms[name], OF_THE_OTHER[network]):
            other = "discriminator" if network == "generator" else "generator"
            raise ValueError(
                f"{key}={node.get('_target_')}: must be a term that trains the {network}, and this one trains the "
                f"{other}; give it under {key.replace(f'.{network}.', f'.{other}.')}"
            )
    if all(term.interval > 1 for term in terms.values()):
        raise ValueError(
            f"loss.{network}: no term is computed in every step (interval=1); add an adversarial loss, such as "
            "loss=[bce,feature_matching]"
        )
    return terms
