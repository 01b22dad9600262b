"""Feature networks, in whose features scores are computed; one module for each."""

from gan_lab.metrics.networks.base import FeatureDomain, FeatureNetwork, FeatureSource, NetworkOutput, extract_batch

__all__ = ["FeatureDomain", "FeatureNetwork", "FeatureSource", "NetworkOutput", "extract_batch"]
