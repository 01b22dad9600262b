"""Where a run's events go: the console, files, Weights & Biases, TensorBoard. One fan-out, any number of them."""

from gan_lab.tracking.base import RunInfo, Tracker, Trackers

__all__ = ["RunInfo", "Tracker", "Trackers"]
