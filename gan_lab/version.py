"""The version of the package, for all that records it."""

__version__ = "0.2.0"
