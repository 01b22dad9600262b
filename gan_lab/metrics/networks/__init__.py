"""Networks whose features scores are taken in, one file a network."""

from gan_lab.metrics.networks.base import Domain, Extracted, FeatureNetwork, Features, extracted

__all__ = ["Domain", "Extracted", "FeatureNetwork", "Features", "extracted"]
