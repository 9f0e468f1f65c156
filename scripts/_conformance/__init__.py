"""JAX's own harness of primitives through the StableHLO -> ONNX lowering and ONNX Runtime."""
