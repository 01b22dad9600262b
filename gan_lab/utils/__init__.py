"""Helpers without any knowledge of GANs: formatting, image operations, the terminal."""
