"""Passes in the bodies of loops and branches."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
from jax import lax

from swift_export.converter.passes.nested import all_nodes, bodies

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import op_types, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 5, 8), np.float32)
LAYERS = [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in ((4, 8), (4, 8), (4, 8, 16), (4, 16, 8))]


def block(x: jax.Array, layer: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
    scale, bias, first, second = layer
    y = x - x.mean(-1, keepdims=True)
    y = y / jnp.sqrt((y * y).mean(-1, keepdims=True) + 1e-5) * scale + bias
    y = y @ first
    return x + (y * 0.5 * (1 + lax.erf(y / np.float32(np.sqrt(2))))) @ second, None


def inside(model: oir.Model) -> list[str]:
    return [node.op_type for node in all_nodes(model.graph) if node.graph is not model.graph]


def test_layers_in_a_loop_are_fused_as_outside_of_it() -> None:
    model = run_and_compare(lambda x: lax.scan(block, x, LAYERS)[0], X, rtol=1e-5)
    assert op_types(model)["Loop"] == 1
    found = inside(model)
    assert found.count("LayerNormalization") == 1
    assert found.count("Gelu") == 1
    assert "Erf" not in found


def test_constants_that_bodies_need_lie_in_the_graph_around_them() -> None:
    model = run_and_compare(
        lambda x: lax.cond(x.sum() > 0, lambda y: y @ (LAYERS[2][0] * 2), lambda y: y @ LAYERS[2][1], x), X, rtol=1e-5
    )
    assert all(not body.initializers for node in all_nodes(model.graph) for body in bodies(node))
    names = [value.name for node in all_nodes(model.graph) for value in node.outputs]
    assert len(names) == len(set(names))
