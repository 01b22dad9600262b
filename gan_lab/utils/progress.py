"""How a function that takes long says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""``(done, total)``, called now and then."""


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""
