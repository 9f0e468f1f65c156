"""Signatures, metadata and versions in files, read without running them."""
