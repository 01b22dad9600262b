"""Dataset builders, one module for each storage format."""

from gan_lab.data.datasets.base import DatasetBuilder

__all__ = ["DatasetBuilder"]
