"""Runs artifacts and the reference on the same inputs, and measures the difference."""
