"""Probes: linear models of a target, fitted to the embeddings of participants."""
