"""gan_lab: a Hydra-configured laboratory for training and comparing GANs.

``from gan_lab import Run; Run.open("outputs/...").sample(16)`` opens a finished or a running experiment.
"""

import os

__version__ = "0.1.0"
__all__ = ["Run", "__version__"]

# Spinning OpenMP barriers make a step 4 to 8 times slower as soon as another process is busy on the same cores; waiting
# passively costs nothing on an idle machine. libgomp reads these once, when torch is imported, so they are settled here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


def __getattr__(name: str) -> object:
    """Import :class:`gan_lab.run.Run` when it is asked for: it brings torch, which ``--help`` need not wait for."""
    if name == "Run":
        from gan_lab.run import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
