"""The heart: the round two players play, each player's phase, and the loop that repeats them."""
