"""Clips to features: runs, cohorts and probes."""
