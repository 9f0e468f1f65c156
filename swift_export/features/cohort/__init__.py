"""Cohorts: one task a scan, on the processors of this machine or of a cluster, that can be interrupted and resumed."""
