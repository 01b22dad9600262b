"""One training iteration: the networks, the updates of a batch, and what they depend on."""
