"""Keys, options and experiments of version 0.1 that have been renamed."""

from __future__ import annotations

KEYS = {
    "accumulate": "gradient_accumulation_steps",
    "gradient_clip": "max_grad_norm",
    "recompute": "activation_checkpointing",
    "threads": "num_threads",
    "passes": "discriminator_passes",
    "dataset.fit": "dataset.resize_mode",
    "dataset.last": "dataset.drop_last",
    "dataset.max_bad": "dataset.max_corrupt_fraction",
    "dataset.workers": "dataset.num_workers",
    "degradation.turns": "degradation.random_flip_rot",
    "model.capacity": "model.channel_base",
    "model.growth.largest_batch": "model.growth.max_batch_size",
    "model.growth.start_size": "model.growth.start_resolution",
    "model.growth.rates": "model.growth.lr_factors",
    "model.generator.capacity": "model.generator.channel_base",
    "model.discriminator.capacity": "model.discriminator.channel_base",
    "evaluation.max_share": "evaluation.max_time_fraction",
    "evaluation.metrics.neighbours": "evaluation.metrics.prdc",
    "evaluation.metrics.neighbours.reach": "evaluation.metrics.prdc.nearest_k",
    "evaluation.metrics.neighbours.density_reach": "evaluation.metrics.prdc.density_k",
    "evaluation.metrics.neighbours.copies_quantile": "evaluation.metrics.prdc.copies_quantile",
    "features.domain": "features.dataset_classifier",
    "features.domain.file": "features.dataset_classifier.file",
    "features.domain.folder": "features.dataset_classifier.folder",
    "health.roll_back": "health.restore_best",
    "health.collapse.share": "health.collapse.fraction",
    "precision.weights": "precision.param_dtype",
    "conditioning.generator.speed": "conditioning.generator.lr_multiplier",
    "penalty.every": "penalty.interval",
    "pretraining.share": "pretraining.fraction",
    "pretraining.run": "initial_weights.path",
    "pretraining.checkpoint": "initial_weights.checkpoint",
    "pretraining.discriminator": "initial_weights.discriminator",
    "protocol.lab": "protocol.default",
    "kind": "benchmark",
}
"""Current names of keys by their old names; keys below them are renamed as well."""

VALUES = {
    ("discriminator_passes", "separate"): "split",
    ("dataset.drop_last", "drop"): "true",
    ("dataset.drop_last", "wrap"): "false",
    ("evaluation.features", "domain"): "dataset_classifier",
    ("degradation.steps.bicubic.edges", "renormalised"): "renormalized",
    ("benchmark", "neighbour"): "contention",
    ("benchmark", "ranks"): "distributed",
    ("protocol", "lab"): "default",
    ("features", "domain"): "dataset_classifier",
    ("experiment", "mnist_dcgan"): "dcgan_mnist",
    ("experiment", "cifar100_hinge"): "hinge_cifar100",
}
"""Current values by the current key and the old value."""

MOVED_OPTIONS = {("pretraining", "run"): ("initial_weights", "run")}
"""Options that have moved to another group."""


def new_key(key: str) -> str:
    """The current name of a dotted key, also of ``every`` of a loss term, now ``interval``; unchanged if it was not renamed."""
    for length in range(key.count(".") + 1, 0, -1):
        head = ".".join(key.split(".")[:length])
        if head in KEYS:
            return KEYS[head] + key[len(head) :]
    section, _, last = key.rpartition(".")
    if last == "every" and section.split(".")[0] in ("loss", "penalty", "conditioning", "pretraining"):
        return f"{section}.interval"
    return key


def new_override(key: str, value: str) -> tuple[str, str]:
    """The current form of a key and its value."""
    if (key, value) in MOVED_OPTIONS:
        return MOVED_OPTIONS[key, value]
    key = new_key(key)
    if value.startswith("[") and value.endswith("]"):
        items = [item.strip() for item in value[1:-1].split(",")]
        current = [VALUES.get((key, item), item) for item in items]
        return key, value if current == items else f"[{','.join(current)}]"
    return key, VALUES.get((key, value), value)
