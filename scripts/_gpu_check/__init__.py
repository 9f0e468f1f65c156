"""``scripts/gpu_check``: parity and speed on a GPU, each row in a process of its own, within a time budget."""
