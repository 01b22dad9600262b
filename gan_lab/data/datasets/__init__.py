"""Where images come from, one file for each way they are stored."""

from gan_lab.data.datasets.base import Source

__all__ = ["Source"]
