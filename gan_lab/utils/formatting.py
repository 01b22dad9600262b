"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CI_SUFFIX = "_ci95"
"""What ends the name of a score's error bar, the half-width of its interval."""


def format_with_ci(figures: Mapping[str, Any], name: str) -> str:
    """A figure with its error bar, if it has one: ``5.31 ± 0.12``; empty where there is none."""
    if figures.get(name) is None:
        return ""
    error = figures.get(f"{name}{CI_SUFFIX}")
    return f"{figures[name]:.4g}" + ("" if error is None else f" ± {error:.2g}")
