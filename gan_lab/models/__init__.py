"""Networks, one file per family. A generator maps latents to images in [-1, 1], a discriminator images to ``[N]`` logits."""
