"""gan_lab: a Hydra-configured laboratory for training and comparing GANs.

``from gan_lab import Run; Run.open("outputs/...").sample(16)`` opens a finished or a running experiment.
"""

import os

from gan_lab.version import __version__

__all__ = ["Run", "__version__"]

# A thread that waits for the others of an operation may spin or sleep. libgomp spins for milliseconds, which makes a step 2 to
# 6 times slower as soon as another process is busy on the same cores; going to sleep at once costs a fifth of a step on idle
# ones. Spinning for about as long as sleeping and waking take gives most of both. Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "300")


def __getattr__(name: str) -> object:
    """Import :class:`gan_lab.runs.run.Run` when it is asked for: it brings torch, which ``--help`` need not wait for."""
    if name == "Run":
        from gan_lab.runs.run import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
