"""Reads PyTorch checkpoints (archive, pickle and tensors) without torch and without executing anything."""
