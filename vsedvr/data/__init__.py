"""Clips and pictures in files: reads them, pairs them, reduces them as the benchmarks do, and writes them."""
