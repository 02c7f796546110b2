"""Unlearning methods, one file per paper."""
