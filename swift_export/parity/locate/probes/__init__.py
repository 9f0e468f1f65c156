"""Probes: files like an artifact that return intermediate values of the model instead of its outputs.

A probe has the artifact's kind and runs in the same runtimes: up to a place, its computation is the artifact's.
"""
