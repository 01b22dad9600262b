"""The callback with which a long-running function reports its progress."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""``progress(done, total)``, called from time to time."""


def silent(done: int, total: int) -> None:
    """Report nothing."""
