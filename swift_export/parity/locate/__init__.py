"""Finds the first differing layer by intermediate values of artifacts and the reference."""
