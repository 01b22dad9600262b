"""gan_lab: a Hydra-configured framework for training and comparing GANs.

``from gan_lab import Run; Run.open("outputs/...").sample(16)`` opens a finished or running experiment.
"""

import os

from gan_lab.version import __version__

__all__ = ["Run", "__version__"]

# How long an OpenMP thread spins while it waits for the others, before it sleeps; libgomp reads it when torch is imported. The
# default of milliseconds makes a step 2 to 6 times slower if another process uses the same cores; without spinning it is 20 %
# slower on idle cores. A spin count of 300, about the time that sleeping and waking take, avoids most of both.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "300")


def __getattr__(name: str) -> object:
    """Import :class:`gan_lab.runs.run.Run` on first access: it imports torch, which ``--help`` does not need."""
    if name == "Run":
        from gan_lab.runs.run import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
