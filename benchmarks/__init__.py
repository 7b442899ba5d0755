"""What the project measures of itself, as modules to run from the root of a checkout: see README.md."""
