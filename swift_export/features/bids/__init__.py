"""Cohorts in BIDS: which scans there are, what is known about their motion, and where their features are written."""
