"""Notices that a resume with another length makes values jump that depend on the completed fraction of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TOLERANCE = 1e-3
"""Relative difference below which a value counts as unchanged."""

RATE = "/learning_rate"


def describe_jumps(
    before: Mapping[str, float], now: Mapping[str, float], images_per_epoch: int, rate_keys: Sequence[str]
) -> str | None:
    """One sentence about the values that jump, why, and what to do; None if none does.

    Args:
        before: the entry ``schedule`` of the checkpoint.
        now: the same of the resumed run.
        images_per_epoch: of the run.
        rate_keys: the keys that set the learning rates.
    """
    jumps = {key: (before[key], now[key]) for key in now if key in before and key != "total_images"}
    jumps = {key: (a, b) for key, (a, b) in jumps.items() if abs(a - b) > TOLERANCE * max(abs(a), abs(b))}
    if not jumps or before["total_images"] == now["total_images"]:
        return None
    listed = ", ".join(f"{key} {a:.3g} to {b:.3g}" for key, (a, b) in jumps.items())
    lengths = [mapping["total_images"] / images_per_epoch for mapping in (before, now)]
    rates = [pair for key, pair in jumps.items() if key.endswith(RATE)]
    factor = f"divided by {rates[0][1] / rates[0][0]:.3g} would go on at the old rate" if rates and rates[0][0] else ""
    advice = f"; {' and '.join(rate_keys)} {factor or 'can be lowered for a gentler start'}" if rates else ""
    return f"with {lengths[1]:g} epochs instead of {lengths[0]:g}, which the schedule spans, values jump: {listed}{advice}"
