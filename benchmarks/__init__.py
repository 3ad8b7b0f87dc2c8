"""Measures Parley on this machine: `python -m benchmarks`, see README.md for how to read it."""
