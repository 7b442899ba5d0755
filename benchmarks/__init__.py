"""Measurements that the project takes of itself, run as modules from the root of a checkout: see README.md there."""
