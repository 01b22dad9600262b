"""How good the pictures are, in numbers that say what they are."""
