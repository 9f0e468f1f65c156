"""Turns scans into clips: NIfTI runs, prepared according to the input contract of the model."""
