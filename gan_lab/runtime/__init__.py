"""The process and its machine: device, distributed processes, signals, time and memory."""
