"""How near the embedded models come to the ground truth, and what the parts of the network are worth."""
