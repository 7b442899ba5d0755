"""Evaluation: the papers' benchmarks and metrics, tables and pictures of them."""
