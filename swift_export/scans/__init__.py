"""Scans in, clips out: NIfTI runs prepared by the model's input contract."""
