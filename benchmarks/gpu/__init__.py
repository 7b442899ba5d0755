"""Right answers, speed and memory on an NVIDIA GPU: `make gpu-check`."""
