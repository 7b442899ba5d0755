"""Clips and pictures in files: read, paired, reduced as the benchmarks were, and written whole."""
