"""A look into the alignment of a window: features, the motion between them, and attention."""
