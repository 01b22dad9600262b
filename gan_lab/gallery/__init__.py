"""A read-only gallery of all runs and studies, for a browser on this machine."""
