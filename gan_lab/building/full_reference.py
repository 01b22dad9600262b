"""Builds the metrics that compare images with their originals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from omegaconf import DictConfig

from gan_lab.config import instantiate
from gan_lab.metrics.full_reference import FullReferenceMetric
from gan_lab.utils.formatting import format_count

log = logging.getLogger(__name__)

OPTIONAL = ("lpips", "perceptual")
"""Metrics that are left out if their network is not available."""


def build_full_reference_metrics(
    cfg: DictConfig, border: int, sides: Sequence[int], file_name: Callable[[int], str]
) -> dict[str, FullReferenceMetric]:
    """The metrics of ``cfg.evaluation.pairs``, by name. One for which all images are too small is left out.

    Args:
        cfg: configuration with a section ``evaluation``.
        border: pixels left out along each edge by metrics whose own ``border`` is null.
        sides: shorter side of each image in pixels.
        file_name: the file of an image by its number, for messages.
    """
    metrics: dict[str, FullReferenceMetric] = {}
    for name, node in (cfg.evaluation.pairs or {}).items():
        if node is None:
            continue
        if "border" in node and node.border is None:
            node.border = border
        try:
            metric: FullReferenceMetric = instantiate(node, f"evaluation.pairs.{name}")
        except ValueError as error:
            if name not in OPTIONAL:
                raise
            log.warning("%s is left out: %s", name, error)
            continue
        small = [number for number, side in enumerate(sides) if side < metric.min_size]
        if small:
            smallest = min(small, key=lambda number: sides[number])
            rest = len(sides) - len(small)
            log.warning(
                "%s %s: it needs at least %d pixels a side, and %s has %d%s",
                name,
                f"is measured on {rest:,} of {format_count(len(sides), 'image')}" if rest else "is left out",
                metric.min_size,
                file_name(smallest),
                sides[smallest],
                f", as {len(small) - 1:,} more have too few" if len(small) > 1 else "",
            )
        if len(small) < len(sides):
            metrics[str(name)] = metric
    return metrics
