"""Constants of the size of weights: they are not copied, outlive their module, and equal ones are merged."""

from __future__ import annotations

import gc

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from swift_export.converter import stablehlo_to_onnx
from swift_export.converter.mlir import VIEWED

W = np.random.default_rng(0).standard_normal((600, 600), np.float32)


def test_they_are_read_where_they_are() -> None:
    last = W.copy()
    last[-1, -1] += 1

    @jax.jit
    def part(x: jax.Array) -> jax.Array:
        return x @ W

    def function(x: jax.Array) -> jax.Array:
        return part(part(x)) + x @ jnp.asarray(W) + x @ last

    assert W.nbytes >= VIEWED
    exported = export.export(jax.jit(function))(jax.ShapeDtypeStruct((2, 600), np.float32))
    model = stablehlo_to_onnx(exported.mlir_module_serialized)
    gc.collect()
    first, second = (value.const_value.numpy() for value in model.graph.initializers.values() if value.const_value)
    assert not first.flags.owndata
    assert {a.tobytes() for a in (first, second)} == {W.tobytes(), last.tobytes()}
