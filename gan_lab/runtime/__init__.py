"""The process and its machine: device, several processes, time and memory."""
