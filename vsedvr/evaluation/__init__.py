"""Evaluation: the papers' benchmarks and metrics, tables and pictures of them, and a look into the alignment."""
