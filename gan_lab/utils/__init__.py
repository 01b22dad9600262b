"""What gan_lab shares that knows nothing of GANs: formatting, image operations, the terminal."""
