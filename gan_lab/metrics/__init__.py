"""Metrics of generated images, and the networks and protocols they are computed with."""
