"""The networks of the measurement: structure and layers of real ones, in sizes that take JAX 5 to 100 ms on one thread.

A file holds those of one framework, or of one part of it. Weights are random, and no layer is neutral.
"""
