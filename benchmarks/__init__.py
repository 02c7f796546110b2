"""Ratios of speed, measured in one run; correctness is asserted beside them."""
