"""PyTorch checkpoints as data: archive, pickle and tensors are read without torch, and nothing is executed."""
