"""Datasets, image decoding, data loaders and discriminator augmentation."""
