"""Access to a finished or running experiment from Python: ``Run.open(path).sample(16)``."""
