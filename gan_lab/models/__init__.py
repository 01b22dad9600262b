"""Networks, one module per model family, and what the families share.

A generator maps latents (or low-resolution images) to images in [-1, 1], a discriminator maps images to logits.
"""
