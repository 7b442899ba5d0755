"""Measurements of the project, run as modules from the root of a checkout: see README.md in this folder."""
