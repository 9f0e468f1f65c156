"""Compares the graphs of artifacts with the model."""
