"""Evaluation of models on the papers' benchmarks, with the papers' metrics, as tables and pictures."""
