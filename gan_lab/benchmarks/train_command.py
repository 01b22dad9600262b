"""Command lines of ``gan_lab.train`` for the configuration of a benchmark."""

from __future__ import annotations

from gan_lab.config import Job, format_choice


def train_overrides(job: Job, *excluded: str) -> list[str]:
    """The overrides with which ``gan_lab.train`` composes the configuration of a job.

    Args:
        job: a job of ``gan_lab.benchmark``.
        excluded: beginnings of overrides that are left out, besides ``benchmark``.
    """
    chosen = {group: option for group, option in job.choices.items() if option is not None and group != "benchmark"}
    options = [f"{group}={format_choice(option)}" for group, option in chosen.items()]
    return options + [override for override in job.overrides if not override.startswith(("benchmark", *excluded))]
