"""Training: data, degradation, losses, and the training loop."""
