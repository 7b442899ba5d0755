"""Versions of one clip beside one another: on a page to look at, and as labelled pictures."""
