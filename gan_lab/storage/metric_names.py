"""The names under which metrics are shown: the same in the console, on pages, in tables and on plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

METRIC_NAMES = {
    "d/loss": "D loss",
    "g/loss": "G loss",
    "d/accuracy_real": "D acc. real",
    "d/accuracy_fake": "D acc. fake",
    "g/fool_rate": "G fool rate",
    "time/images_per_second": "images/s",
    "time/seconds_per_epoch": "s/epoch",
    "time/evaluation_seconds": "evaluation (s)",
    "seconds": "training time (s)",
    "memory/peak_mib": "peak memory (MiB)",
    "d/ada_p": "ADA p",
    "d/ada_rt": "ADA r_t",
    "growth/resolution": "resolution",
    "growth/alpha": "fade-in alpha",
}
"""Names by key in ``metrics.jsonl``."""

METRICS_NOTE = (
    "D is the discriminator, G the generator. D acc. real and D acc. fake: fractions of the real and of the fake images that D "
    "classifies correctly. G fool rate: fraction of the fakes that D classifies as real in G's step."
)
"""Explains the names to the reader of a page."""

LOGGED_KEYS = {
    "epoch_seconds": "time/seconds_per_epoch",
    "images_per_second": "time/images_per_second",
    "peak_memory_mib": "memory/peak_mib",
    "d_loss": "d/loss",
    "g_loss": "g/loss",
    "d_accuracy_real": "d/accuracy_real",
    "d_accuracy_fake": "d/accuracy_fake",
    "g_fool_rate": "g/fool_rate",
}
"""Metrics of a whole run, as in ``summary.json`` and ``study.csv``, with the key of the same metric in ``metrics.jsonl``."""


def display_name(key: str) -> str:
    """The name of a metric; scores such as ``fd_fashion`` keep theirs, and ``d/gradient_norm`` is ``D gradient norm``."""
    key = LOGGED_KEYS.get(key, key)
    if key in METRIC_NAMES:
        return METRIC_NAMES[key]
    prefix, slash, rest = key.partition("/")
    if prefix in ("d", "g") and slash:
        return f"{prefix.upper()} {rest.replace('_', ' ')}"
    return f"{prefix} {rest.replace('_', ' ')}" if prefix == "pretraining" and slash else key


def distinct_keys(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """The keys of ``metrics.jsonl`` whose values are not always those of their network's loss, as its only term's are."""
    return {key for row in rows for key in row if key.endswith("/loss") or row[key] != row.get(f"{key.partition('/')[0]}/loss")}
