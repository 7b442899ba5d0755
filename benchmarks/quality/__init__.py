"""Measures how close the embedded models come to the ground truth, and how much each part of the network contributes."""
