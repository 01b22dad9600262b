"""The training loop, and what happens between its iterations: logging, evaluation, monitoring, samples, checkpoints."""
