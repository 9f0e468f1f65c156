"""Run a function in JAX and, through StableHLO and ONNX, in ONNX Runtime; compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime
from jax import export

from swift_export.converter import stablehlo_to_onnx
from swift_export.system.arrays import as_pairs

__all__ = ["checked", "lower", "op_types", "run", "run_and_compare", "runner", "runners"]


def lower(function: Callable[..., Any], *examples: np.ndarray, symbolic: str | None = "b", **options: Any) -> oir.Model:
    """Export with the first axis of every argument of rank >= 1 unknown, unless ``symbolic`` is None."""
    shapes = []
    for example in examples:
        rest = ", ".join(map(str, example.shape[1:]))
        text = f"({symbolic}, {rest})" if symbolic and example.ndim else str(example.shape)
        shapes.append(jax.ShapeDtypeStruct(export.symbolic_shape(text, scope=scope_of(shapes)), example.dtype))
    exported = export.export(jax.jit(function, keep_unused=True), platforms=["cpu"])(*shapes)
    names = [f"x{i}" for i in range(len(examples))]
    if symbolic:
        options.setdefault(
            "dim_names", {n: ["b", *[None] * (e.ndim - 1)] for n, e in zip(names, examples, strict=True) if e.ndim}
        )
    model = stablehlo_to_onnx(exported.mlir_module_serialized, argument_names=names, **options)
    checked(model)
    return model


def checked(model: oir.Model) -> bytes:
    """The model's file, which ONNX's checker accepts."""
    proto = oir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def scope_of(shapes: list[jax.ShapeDtypeStruct]) -> Any:
    """Symbolic dimensions of one export share a scope."""
    for shape in shapes:
        for size in shape.shape:
            if not isinstance(size, int):
                return size.scope
    return export.SymbolicScope()


def runner(model: oir.Model | bytes, *, optimized: bool = False) -> Callable[..., list[np.ndarray]]:
    """A model or file in ONNX Runtime, as a function: exactly as it says, or with the runtime's own optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model if isinstance(model, bytes) else oir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options)
    names = [i.name for i in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, map(as_pairs, arrays), strict=True)))


def runners(model: oir.Model | bytes) -> list[Callable[..., list[np.ndarray]]]:
    """Without the runtime's optimisations, and with them."""
    content = model if isinstance(model, bytes) else oir.to_proto(model).SerializeToString()
    return [runner(content, optimized=optimized) for optimized in (False, True)]


def run(model: oir.Model | bytes, *arrays: np.ndarray, optimized: bool = False) -> list[np.ndarray]:
    """The outputs of a model or file in ONNX Runtime; see `runner`."""
    return runner(model, optimized=optimized)(*arrays)


def run_and_compare(
    function: Callable[..., Any], *arrays: np.ndarray, rtol: float = 1e-6, symbolic: str | None = "b", **options: Any
) -> oir.Model:
    """Lower from these arrays' shapes, then compare on them and, if the batch is unknown, on two of them.

    With the runtime's optimisations and without. Complex numbers are pairs in the file.
    """
    model = lower(function, *arrays, symbolic=symbolic, **options)
    loaded = runners(model)
    compiled = jax.jit(function)
    # A size that depends on the batch is linear in it, so two batches tell; compiling for each takes most of the time.
    for repeat in (1, 2) if symbolic else (1,):
        fed = [np.concatenate([a] * repeat) if a.ndim else a for a in arrays]
        expected = [as_pairs(np.asarray(leaf)) for leaf in jax.tree.leaves(compiled(*fed))]
        for found, wanted in (pair for call in loaded for pair in zip(call(*fed), expected, strict=True)):
            assert found.dtype == wanted.dtype
            assert found.shape == wanted.shape
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(
                    found, wanted, rtol=rtol, atol=rtol * max(1, np.abs(wanted[np.isfinite(wanted)]).max(initial=0))
                )
            else:
                np.testing.assert_array_equal(found, wanted)
    return model


def op_types(model: oir.Model) -> dict[str, int]:
    """How many nodes of each type."""
    counts: dict[str, int] = {}
    for node in model.graph:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts
