"""Shows what the alignment does in a window: features, the motion between them, and attention."""
