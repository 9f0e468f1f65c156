"""JAX's own test cases of its primitives, converted from StableHLO to ONNX and run in ONNX Runtime."""
