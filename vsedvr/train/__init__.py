"""Training and evaluation: data, degradation, the loop, and the field's metrics."""
