"""Names of the weights in published files, one family per module."""
