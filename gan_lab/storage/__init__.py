"""Files of a run: its directory, its checkpoints, atomic writes and locks."""
