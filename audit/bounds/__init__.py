"""Bounds: scores in, a lower bound or a test out. NumPy and SciPy only."""
