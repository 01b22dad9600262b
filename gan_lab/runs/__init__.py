"""A finished or running experiment as an object: ``Run.open(path).sample(16)``."""
