"""From a configuration to objects: one module for each thing that is built."""
