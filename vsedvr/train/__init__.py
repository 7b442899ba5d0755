"""Training: what is learnt from, degradation, and the loop."""
