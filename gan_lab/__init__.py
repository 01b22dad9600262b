"""gan_lab: a Hydra-configured framework for training and comparing GANs.

``gan_lab.train(["model=dcgan", "epochs=2"])`` trains and returns a :class:`Run`; ``gan_lab.Run.open("outputs/...").sample(16)``
opens a finished or running one.
"""

import importlib
import os

from gan_lab.version import __version__

__all__ = ["Run", "__version__", "train"]

# How long an OpenMP thread spins while it waits for the others, before it sleeps; libgomp reads it when torch is imported. The
# default of milliseconds makes a step 2 to 6 times slower if another process uses the same cores; without spinning it is 20 %
# slower on idle cores. A spin count of 300, about the time that sleeping and waking take, avoids most of both.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "300")


def __getattr__(name: str) -> object:
    """Import :class:`gan_lab.runs.run.Run` and :mod:`gan_lab.train` on first access: ``--help`` does not need torch."""
    if name == "Run":
        from gan_lab.runs.run import Run

        return Run
    if name == "train":
        return importlib.import_module("gan_lab.train")  # a module that can be called
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
