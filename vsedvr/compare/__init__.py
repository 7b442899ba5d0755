"""Pictures beside one another, to compare them."""
