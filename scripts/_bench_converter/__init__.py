"""``scripts/bench_converter``: the converter's files of many networks against ``jax.jit`` and against jax2onnx's."""
