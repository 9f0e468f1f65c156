"""Probes: files like an artifact that give values from inside the model instead of its outputs.

A probe is of the artifact's own kind and runs in the same runtimes: what it computes up to a place is what the artifact
computes up to there.
"""
