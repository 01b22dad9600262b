"""Trackers, which receive a run's metrics, images and alarms: console, files, Weights & Biases, TensorBoard."""

from gan_lab.tracking.base import RunInfo, Tracker, Trackers

__all__ = ["RunInfo", "Tracker", "Trackers"]
