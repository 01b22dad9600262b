"""Several runs by one command: multiruns and sweeps."""
