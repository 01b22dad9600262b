"""Where images come from, one file for each way they are stored."""

from gan_lab.data.datasets.base import DatasetBuilder

__all__ = ["DatasetBuilder"]
