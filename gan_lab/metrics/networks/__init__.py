"""Networks whose features scores are taken in, one file a network."""

from gan_lab.metrics.networks.base import FeatureDomain, FeatureNetwork, FeatureSource, NetworkOutput, extract_batch

__all__ = ["FeatureDomain", "FeatureNetwork", "FeatureSource", "NetworkOutput", "extract_batch"]
