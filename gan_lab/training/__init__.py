"""The training algorithm: losses become updates, updates a loop, and what happens between them."""
