"""Several runs from one command: multiruns and sweeps."""
