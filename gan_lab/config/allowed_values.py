"""What each key of a training's configuration may be: type, range, names. The only such table.

A value is checked when the configuration is composed, before anything is read, built or written. What depends on several keys,
on the data or on the machine is checked where it is used; so are the arguments of an object that the table does not list, which
are compared with its signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.allowed_types import Allowed, Anything, Choice, Either, Items, Number, Section, Switch, Text

NULL = ("null",)
HUGE = 10**12
"""No count of anything needs more."""

POSITIVE = Number(0, above=True)
NOT_NEGATIVE = Number(0)
FRACTION = Number(0, 1)
SHARE = Number(0, 1, above=True)
SEED = Number(0, 2**32 - 1, whole=True)
FILE = Text(null=True)
NAMES = Items(Text(), words=NULL)
CADENCE = Number(1e-6, 1e9, words=NULL, more="; in thousands of images")
OF_TIME = Number(0, 1, words=NULL, more="; a fraction of the training time")
LENGTH = Number(0, 1e7, words=NULL, more="; in thousands of images")
STRENGTH = Number(0, 10, more="; 0 turns it off")
RATE = Number(0, 1e30)
BETAS = Items(Number(0, 1, below=True), length=2)
WIDTH = Number(1, 2**16, whole=True)
PIXELS = Number(1, 8192, whole=True)
PATIENCE = Number(1, 10**6, whole=True)
RESIZE = Choice(("clean", "tensorflow1", "bilinear"))
HALF_PRECISION = Number(0, 20, whole=True)
RANGE = Items(NOT_NEGATIVE, length=2, ordered=True)


def count(least: int = 1, most: int = HUGE, *words: str) -> Number:
    """Whole numbers from ``least`` to ``most``, or one of ``words``."""
    return Number(least, most, whole=True, words=words)


TABLE: dict[str, Allowed] = {
    # how long and how
    "epochs": Number(0, 1e6, more="; 0 scores and samples the initial weights"),
    "kimg": LENGTH,
    "max_kimg": Number(0, 1e7, above=True, words=NULL, more="; in thousands of images"),
    "max_seconds": Number(0, 1e9, above=True, words=NULL),
    "batch_size": count(1, 2**20),
    "n_critic": count(1, 1000),
    "gradient_accumulation_steps": count(1, 2**20),
    "max_grad_norm": Number(1e-12, 1e12, words=NULL),
    "device": Text(),
    "seed": SEED,
    "seeds": count(1, 10**6),
    "deterministic|reuse_fakes|reuse_reals|activation_checkpointing|sync_batch_norm|preview|plan": Switch(),
    "memory_format": Choice(("auto", "channels_last", "contiguous")),
    "discriminator_passes": Choice(("auto", "joint", "split")),
    "compile": Choice(("none", "generator", "both")),
    "capture": Choice(("auto", "none")),
    "console": Choice(("auto", "live", "plain")),
    "resume_data": Choice(("same", "changed")),
    "resume_from": Text(),
    "resume": FILE,
    "data_memory_fraction": Number(0, 1, more="; 0 never keeps the dataset on the GPU"),
    "num_threads": count(1, 4096, "auto"),
    # what happens between steps
    "log|sample|checkpoint|study|paths|optimizer|optimizer.generator|optimizer.discriminator|model|model.generator": Section(),
    "model.discriminator|model.growth|discriminator|dataset": Section(),
    "loss|loss.generator|loss.discriminator|loss.*.*|penalty|penalty.generator|penalty.discriminator|penalty.*.*": Section(),
    "augment|augment.*|ema|evaluation|schedule|schedule.of|initial_weights|degradation|degradation.steps": Section(),
    "degradation.steps.*|pretraining|pretraining.terms|pretraining.terms.*|protocol|protocol.*|protocol.*.settings": Section(),
    "features|features.*|health|precision|tracker|tracker.*|perception|pretraining.optimizer": Section(),
    "conditioning|conditioning.generator|conditioning.discriminator|conditioning.terms|conditioning.terms.*": Section(),
    "conditioning.terms.*.*": Section(),
    "pruner|model.latents": Section(null=True),
    "precision.rounding": Section(null=True),
    "evaluation.metrics|evaluation.metrics.*|evaluation.pairs|evaluation.pairs.*": Section(null=True),
    "health.collapse|health.divergence|health.overfitting": Section(null=True),
    "health.gradients|health.skipped_steps": Section(null=True),
    "log.every_kimg|sample.every_kimg|checkpoint.every_kimg|evaluation.every_kimg": CADENCE,
    "checkpoint.keep_every_kimg": CADENCE,
    "sample.max_time_fraction|checkpoint.max_time_fraction|evaluation.max_time_fraction": OF_TIME,
    "sample.at_epochs": Items(NOT_NEGATIVE, words=NULL),
    "sample.count": count(1, 10_000),
    "sample.columns": count(1, 10_000, "null"),
    "sample.scale": count(1, 64),
    "checkpoint.keep": count(1, 10_000),
    "study.name": FILE,
    "study.storage": Text(),
    "study.trials": count(1, 10**7),
    "study.heartbeat": count(1, 10**6),
    "study.trial": count(0, HUGE, "null"),
    "constraints": Section(),
    "constraints.*": Number(0, 1e12),
    "objective": Either((Text(null=True), Items(Text()))),
    "paths.*": FILE,
    # data
    "dataset.size": PIXELS,
    "dataset.name|dataset.split|dataset.folder|dataset.image|dataset.kind|dataset.reader": Text(),
    "dataset.label|dataset.root": FILE,
    "dataset.path": Text(),
    "dataset.channels": Number(1, 3, whole=True),
    "dataset.resize_mode": Choice(("crop", "pad", "resize", "whole")),
    "dataset.limit": count(1, HUGE, "null"),
    "dataset.seed|dataset.stack_seed": SEED,
    "dataset.mirror|dataset.drop_last": Switch(),
    "dataset.max_corrupt_fraction": FRACTION,
    "dataset.num_workers": count(1, 1024, "null"),
    "dataset.count": count(1, 10**9),
    "dataset.precrop": count(1, 178),
    "dataset.classes|dataset.attributes": Anything(),
    "dataset.parts": Section(),
    "dataset.parts.*": Items(Text()),
    "augment.*.flip|augment.*.quarter_turns|augment.*.luma_flip": Switch(),
    "augment.ada.p|augment.ada.color_p|augment.*.cutout|augment.diffaugment.translation": FRACTION,
    "augment.ada.target": Number(-1, 1, words=NULL),
    "augment.ada.interval": count(1, 10**6),
    "augment.ada.kimg": Number(0, 1e9, above=True),
    "augment.ada.shift|augment.ada.translation|augment.ada.rotation|augment.ada.hue": Number(0, 1),
    "augment.ada.scale|augment.ada.stretch|augment.ada.brightness|augment.ada.contrast|augment.ada.saturation": STRENGTH,
    "augment.*.sigma": Number(0, 100),
    "augment.*.until": SHARE,
    "augment.diffaugment.brightness": Items(Number(-2, 2), length=2, ordered=True),
    "augment.diffaugment.contrast|augment.diffaugment.saturation": Items(Number(0, 100), length=2, ordered=True),
    "augment.diffaugment.policy": Items(Choice(("color", "translation", "cutout"))),
    "degradation.scale": count(1, 16, "null"),
    "degradation.patch|degradation.preview": count(1, 8192, "null"),
    "degradation.patches": count(1, 10**6),
    "degradation.random_flip_rot": Switch(),
    "degradation.steps.*.scale": count(1, 16),
    "degradation.steps.*.sigma|degradation.steps.*.quality": RANGE,
    "degradation.steps.bicubic.edges": Text(),
    # networks
    "model.blocks|model.*.blocks": count(1, 1000),
    "model.width|model.*.width|model.max_width|model.*.max_width|model.group_width|model.*.group_width": WIDTH,
    "model.channel_base|model.*.channel_base|model.growth_channels|model.generator.growth": count(1, 2**24),
    "model.expansion|model.*.expansion|model.latents.size|model.*.latent_size|model.*.style_size": WIDTH,
    "model.attention|model.*.attention": count(1, 8192, "null"),
    "model.clamp|model.*.clamp": Number(0, 1e30, above=True, words=NULL),
    "model.dropout|model.*.dropout": Number(0, 1, below=True),
    "model.half_precision_resolutions|model.*.half_precision_resolutions": HALF_PRECISION,
    "model.mapping_layers|model.*.mapping_layers": count(0, 1000),
    "model.lite|model.generator.lite|model.spectral_norm|model.*.spectral_norm|model.*.residual": Switch(),
    "model.*.relu_shortcut|model.*.unit_range": Switch(),
    "model.multiples|model.generator.multiples": Items(POSITIVE),
    "model.norm|model.*.norm": Choice(("batch", "layer", "instance", "none")),
    "model.*.halvings": count(1, 20, "null"),
    "model.*.plain_blocks|model.*.deviation_features": count(0, 1000),
    "model.*.group": count(1, 2**20),
    "model.*.size|conditioning.generator.size": count(1, 8192, "null"),
    "model.*.channels": Number(1, 3, whole=True),
    "model.*.resize": PIXELS,
    "model.generator.scale": count(1, 16, "null"),
    "model.*.network|model.generator.upsample": Text(),
    "model.generator.average_beta|model.latents.mixing": FRACTION,
    "model.growth.fade_kimg|model.growth.stable_kimg": Either((LENGTH, Items(Number(0, 1e7)))),
    "model.growth.grown_at": SHARE,
    "model.growth.lr_factors": Items(Items(Number(0, 1e6, above=True), length=2), words=NULL),
    "model.growth.max_batch_size": count(1, HUGE, "null"),
    "model.growth.start_resolution": count(1, 8192, "null"),
    "model.growth.reset_optimizer": Switch(),
    "conditioning.labels|conditioning.discriminator.unconditional": Switch(),
    "conditioning.num_classes": count(1, 10**6, "null"),
    "conditioning.generator.lr_multiplier": Number(0, 1e6, above=True),
    "initial_weights.path|initial_weights.checkpoint": FILE,
    "initial_weights.discriminator": Either((Switch(), Text())),
    # optimization
    "optimizer.lr|optimizer.*.lr|pretraining.lr|pretraining.optimizer.lr": RATE,
    "optimizer.betas|optimizer.*.betas|pretraining.optimizer.betas": BETAS,
    "optimizer.eps|optimizer.*.eps|pretraining.optimizer.eps": Number(0, 1e3),
    "optimizer.alpha|optimizer.*.alpha|optimizer.momentum|optimizer.*.momentum": Number(0, 1, below=True),
    "optimizer.weight_decay|optimizer.*.weight_decay|pretraining.optimizer.weight_decay": Number(0, 1e3),
    "optimizer.fused|optimizer.*.fused|optimizer.nesterov|optimizer.*.nesterov|pretraining.optimizer.fused": Switch(),
    "loss.label_smoothing|loss.*.*.label_smoothing": Number(0, 0.5, below=True),
    "loss.*.*.weight|penalty.*.*.weight|penalty.gamma|pretraining.terms.*.weight|conditioning.terms.*.*.weight": Number(0, 1e9),
    "loss.generator.charbonnier.eps|pretraining.terms.charbonnier.eps": Number(0, 1e3, above=True),
    "loss.*.*.interval|penalty.interval|penalty.*.*.interval": count(1, 10**6),
    "penalty.*.*.target": Number(0, 1e6),
    "penalty.*.*.spread": Number(0, 1e3),
    "penalty.*.*.limit": Number(0, 1e6, above=True),
    "penalty.*.*.batch_fraction|penalty.*.*.decay": SHARE,
    "ema.kimg": Number(0, 1e7, above=True),
    "ema.rampup": Number(0, 1e6, above=True, words=NULL),
    "schedule.start": Number(0, 1, below=True),
    "schedule.end": Number(0, 1e6),
    "schedule.at": Items(FRACTION),
    "schedule.gamma": Number(0, 1e3, above=True),
    "pretraining.fraction": FRACTION,
    "pretraining.kimg": LENGTH,
    "precision.autocast": Choice(("bfloat16", "float16", "null")),
    "precision.param_dtype": Text(null=True),
    "precision.candidates": Items(Text()),
    "precision.loss_scaling|precision.tf32": Switch(),
    "precision.min_speedup": Number(1, 1000),
    "precision.rounding.bits": count(2, 24),
    "precision.rounding.seed": SEED,
    # scores
    "evaluation.features": Text(),
    "evaluation.score|evaluation.reals": FILE,
    "evaluation.target": Number(words=NULL),
    "evaluation.num_fakes": count(2, 10**7),
    "evaluation.num_reals": count(2, HUGE, "null"),
    "evaluation.batch_size": count(1, 10**6),
    "evaluation.seed|evaluation.metrics.*.seed|features.*.seed|perception.seed": SEED,
    "evaluation.border|evaluation.pairs.*.border": count(0, 8192, "null"),
    "evaluation.pairs.*.folder|features.*.folder|features.*.file|features.*.weights|perception.folder": FILE,
    "loss.*.*.network|loss.*.*.network.*|evaluation.pairs.*.network.*": Anything(),
    "evaluation.pairs.*.network|features.*.network|perception.network|features.*.size|evaluation.pairs.*.device": Anything(),
    "evaluation.metrics.frechet.bootstrap|evaluation.metrics.frechet.points": count(0, 10_000),
    "evaluation.metrics.prdc.nearest_k|evaluation.metrics.prdc.density_k": count(1, 10**6),
    "evaluation.metrics.prdc.copies_quantile": FRACTION,
    "evaluation.metrics.kernel.subset_size": count(2, 10**6),
    "evaluation.metrics.*.*": count(1, 10**6),
    "features.random.width|perception.width": count(1, 4096),
    "features.*.resize|protocol.*.settings.resize": RESIZE,
    "features.*.scaling|protocol.*.settings.scaling": Choice(("tensorflow1", "unit")),
    "perception.gain": Number(0, 1e3, above=True),
    "perception.jitter": count(0, 8192),
    "perception.layers": Items(Text()),
    "protocol.*.features": Text(),
    "protocol.*.batch_norm": Choice(("running", "standing")),
    "protocol.*.covariance": Choice(("n", "n-1")),
    "protocol.*.metrics": NAMES,
    "protocol.*.num_fakes": count(2, 10**7),
    "protocol.*.num_reals": count(2, HUGE, "null"),
    "protocol.*.split": FILE,
    "health.*.fraction|health.*.floor|health.*.scaled_fraction": FRACTION,
    "health.*.patience|health.*.window": PATIENCE,
    "health.*.warmup": count(0, 10**6),
    "health.*.factor|health.*.explosion": Number(0, 1e12, above=True),
    "health.*.vanishing": Number(0, 1, below=True),
    "health.*.limit": Number(0, 1e6),
    "health.held_out": count(0, 10**9),
    "health.restore_best": Switch(),
    "health.on_divergence": Choice(("stop", "roll_back")),
    "health.max_skipped_steps": count(1, 10**9),
    "health.max_roll_backs": count(0, 10**6),
    "health.roll_back_lr_factor": Number(0, 1, above=True),
    "health.stop_at": Items(Text()),
    # sweeps and trackers
    "pruner.max_resource": count(1, HUGE, "auto"),
    "pruner.p_threshold": Number(0, 1, above=True, below=True),
    "pruner.*": count(0, HUGE),
    "tracker.wandb.entity": FILE,
    "tracker.wandb.mode": Choice(("offline", "online", "disabled")),
    "tracker.wandb.project": Text(),
    "tracker.wandb.tags": Items(Text()),
    "tracker.wandb.timeout": Number(0, 1e6, above=True),
}
"""Allowed values by key; ``*`` stands for one name, ``|`` separates keys that allow the same. The first that fits counts."""

MEANT_WHEN_ZERO = {
    "optimizer.lr|optimizer.*.lr": "the weights never change",
    "loss.*.*.weight|penalty.*.*.weight": "the term has no influence",
}
"""Keys whose value 0 is allowed though odd, and what it means."""

EQUAL = {
    "model.generator.size": ("dataset.size",),
    "model.generator.channels": ("dataset.channels",),
    "model.generator.latent_size": ("model.latents.size",),
    "model.generator.scale": ("degradation.scale",),
    "model.discriminator.size": ("degradation.patch", "dataset.size"),
    "model.discriminator.channels": ("dataset.channels",),
    "discriminator.size": ("degradation.patch", "dataset.size"),
    "discriminator.channels": ("dataset.channels",),
}
"""Arguments of networks that have to equal another value: one of those of these keys."""


@cache
def allowed_at(key: str) -> Allowed | None:
    """What a key may be; None if the table does not list it."""
    key = f"model.{key}" if key.startswith("discriminator.") else key
    return next((allowed for pattern, allowed in _patterns() if pattern.fullmatch(key)), None)


def check_values(cfg: DictConfig, given: Sequence[str] = ()) -> None:
    """Check every value of a resolved configuration that the table lists.

    Args:
        cfg: the configuration.
        given: overrides of the command line; the message is about one of them if it can be, with the value as it was typed.

    Raises:
        ValueError: a value is not allowed; the message has the key, the value and what is allowed.
    """
    plain = OmegaConf.to_container(cfg, resolve=True)
    _refuse_first([entry for entry in _listed(plain, "") if not entry[2].accepts(entry[1])], given)
    for key, others in EQUAL.items():
        value = OmegaConf.select(cfg, key)
        equal = {name: other for name in others if (other := OmegaConf.select(cfg, name)) is not None}
        if value is not None and equal and value not in equal.values():
            needed = " or ".join(f"{name}={other}" for name, other in equal.items())
            raise ValueError(f"{key}={value}: must be equal to {needed}; leave it out")


def check_sections(cfg: DictConfig, given: Sequence[str] = ()) -> None:
    """Check that what has to be a section is one, and that no switch was given a number; the configuration may have references.

    Args:
        cfg: the configuration.
        given: overrides of the command line, for the message.

    Raises:
        ValueError: a section was replaced by a value, or a switch by a number.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    sections = [entry for entry in _listed(plain, "") if isinstance(entry[2], Section) and not _is_reference(entry[1])]
    wrong = [entry for entry in sections if not entry[2].accepts(entry[1])]
    _refuse_first([*_numbers_for_switches(given), *wrong], given)


def _numbers_for_switches(given: Sequence[str]) -> list[tuple[str, Any, Allowed]]:
    """Switches that were given a number on the command line, which OmegaConf takes as true or false without a word."""
    typed = [(key.lstrip("+"), value) for key, _, value in (override.partition("=") for override in given)]
    found = [(key, value, allowed_at(key)) for key, value in typed if re.fullmatch(r"[+-]?\d+", value)]
    return [(key, value, allowed) for key, value, allowed in found if isinstance(allowed, Switch)]


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and ("${" in value or value == "???")


def _refuse_first(wrong: Sequence[tuple[str, Any, Allowed]], given: Sequence[str]) -> None:
    """Raise ValueError about one of the values that are not allowed: one that was typed, or the outermost."""
    typed = {key.lstrip("+"): value for key, _, value in (override.partition("=") for override in given)}
    if wrong:
        key, value, allowed = min(wrong, key=lambda entry: (entry[0] not in typed, entry[0].count(".")))
        raise ValueError(f"{key}={typed.get(key, shown_value(value))}: must be {allowed}{_suggestion(value, allowed)}")


def _suggestion(value: Any, allowed: Allowed) -> str:
    similar = get_close_matches(value, allowed.names, n=1) if isinstance(allowed, Choice) and isinstance(value, str) else []
    return f"; did you mean {similar[0]}?" if similar else ""


def odd_values(cfg: DictConfig) -> list[str]:
    """A sentence for each value of a resolved configuration that is allowed though odd."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    zeros = [key for key, value in _leaves(plain, "") if value == 0 and not isinstance(value, bool)]
    found = []
    for pattern, meaning in MEANT_WHEN_ZERO.items():
        keys = [key for key in zeros if _compiled(pattern).fullmatch(key)]
        shared = [key for key in keys if key.count(".") == 1]  # both networks refer to it
        found += [f"{key}=0: {meaning}" for key in shared or keys]
    return found


def shown_value(value: Any) -> str:
    """A value as it is typed on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(shown_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{shown_value(entry)}' for name, entry in value.items())}}}"
    return str(value)


def _listed(node: Any, prefix: str) -> Iterator[tuple[str, Any, Allowed]]:
    """Keys, values and what is allowed, of all that the table lists."""
    for name, value in node.items():
        if str(name).startswith("_"):
            continue
        key = f"{prefix}{name}"
        if (allowed := allowed_at(key)) is not None:
            yield key, value, allowed
        if isinstance(value, dict):
            yield from _listed(value, f"{key}.")


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@cache
def _patterns() -> list[tuple[re.Pattern[str], Allowed]]:
    return [(_compiled(keys), allowed) for keys, allowed in TABLE.items()]


@cache
def _compiled(keys: str) -> re.Pattern[str]:
    """A pattern for keys of :data:`TABLE`."""
    return re.compile("|".join(re.escape(key).replace(r"\*", r"[^.]+") for key in keys.split("|")))
