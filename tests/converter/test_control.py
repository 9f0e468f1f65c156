"""Loops and branches that depend on data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4), np.float32)
W = rng.standard_normal((4, 4), np.float32)


def test_while_runs_until_its_condition_fails() -> None:
    def function(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return lax.while_loop(
            lambda c: jnp.sum(c[0]) < 30.0, lambda c: (c[0] + jnp.abs(x), c[1] + 1), (x * 0 + 1, jnp.int32(0))
        )

    model = run_and_compare(function, X)
    assert op_types(model)["Loop"] == 1


def test_a_loop_that_never_runs_gives_what_it_was_given() -> None:
    run_and_compare(lambda x: lax.while_loop(lambda c: jnp.sum(c) < -1e9, jnp.sin, x), X)


def test_what_a_body_hands_on_is_no_state_of_the_loop() -> None:
    model = run_and_compare(lambda x: lax.fori_loop(0, 5, lambda i, c: (jnp.tanh(c[0] @ c[1]), c[1]), (x, W)), X)
    (loop,) = [node for node in model.graph if node.op_type == "Loop"]
    assert [4, 4] not in [list(state.shape) for state in loop.outputs]


def test_nested_loops() -> None:
    def function(x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 3, lambda i, c: lax.fori_loop(0, i, lambda j, d: jnp.sin(d) + x, c) * 2, x)

    run_and_compare(function, X)


def dead_loop(x: jax.Array) -> jax.Array:
    return lax.fori_loop(0, 4, lambda i, v: jnp.minimum(v, 31.0) * 3, x)


def dead_nest(x: jax.Array) -> jax.Array:
    return lax.fori_loop(0, 2, lambda i, v: lax.fori_loop(0, i, lambda j, w: w * 5.5 + 7, v) + 2.5, x)


def dead_branch(x: jax.Array) -> jax.Array:
    return lax.cond(x.sum() > 1.5, lambda v: v * 5.5 - 9, lambda v: v + 7.5, x)


@pytest.mark.parametrize("dead", [dead_loop, dead_nest, dead_branch])
def test_of_loops_and_branches_that_are_not_needed_nothing_stays(dead: Callable[[jax.Array], jax.Array]) -> None:
    def function(x: jax.Array) -> jax.Array:
        return x @ W[:, :3] + W[0, :3] + jnp.zeros_like(dead(x)).sum() + 0 * dead(x[:1] * 0).shape[1]

    model = run_and_compare(function, X)
    assert not {"Loop", "If"} & set(op_types(model))
    used = {v.name for node in model.graph for v in node.inputs if v is not None}
    assert set(model.graph.initializers) <= used


def test_branches() -> None:
    def function(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        index = (jnp.abs(y).max() > jnp.arange(1, 5, dtype=jnp.float32)).astype(jnp.int32).sum()
        return (
            lax.cond(x.sum() > 0, lambda a: a @ W, lambda a: (a * 2) @ W, x),
            lax.switch(index, [lambda a: a, lambda a: a * 2, lambda a: jnp.sin(a), lambda a: a + y], x),
        )

    model = run_and_compare(function, X, X)
    for scale in (-1.0, 0.01, 1.0, 2.5, 3.5, 100.0):
        fed = (np.float32(np.sign(scale)) * X, np.float32(scale) * X)
        for found, wanted in zip(run(model, *fed), jax.jit(function)(*fed), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_branch_that_sizes_decide_is_taken_at_translation() -> None:
    module = """func.func @main(%x: tensor<3x?xf32>) -> tensor<3x?xf32> {
  %rows = stablehlo.get_dimension_size %x, dim = 0 : (tensor<3x?xf32>) -> tensor<i32>
  %three = stablehlo.constant dense<3> : tensor<i32>
  %known = stablehlo.compare EQ, %rows, %three, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
  %y = "stablehlo.if"(%known) ({
    %a = stablehlo.negate %x : tensor<3x?xf32>
    stablehlo.return %a : tensor<3x?xf32>
  }, {
    stablehlo.return %x : tensor<3x?xf32>
  }) : (tensor<i1>) -> tensor<3x?xf32>
  return %y : tensor<3x?xf32>
}"""
    model = stablehlo_to_onnx(module)
    assert op_types(model) == {"Neg": 1}
    np.testing.assert_array_equal(run(model, X)[0], -X)


def test_an_assertion_inside_a_loop_is_refused() -> None:
    module = """func.func @main(%x: tensor<3xf32>, %n: tensor<i32>) -> tensor<3xf32> {
  %r:2 = "stablehlo.while"(%x, %n) ({
  ^bb0(%a: tensor<3xf32>, %i: tensor<i32>):
    %zero = stablehlo.constant dense<0> : tensor<i32>
    %go = stablehlo.compare GT, %i, %zero, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %go : tensor<i1>
  }, {
  ^bb0(%a: tensor<3xf32>, %i: tensor<i32>):
    %one = stablehlo.constant dense<1> : tensor<i32>
    %next = stablehlo.subtract %i, %one : tensor<i32>
    %fine = stablehlo.compare LT, %next, %i, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.custom_call @shape_assertion(%fine) {error_message = "no", has_side_effect = true} : (tensor<i1>) -> ()
    %twice = stablehlo.add %a, %a : tensor<3xf32>
    stablehlo.return %twice, %next : tensor<3xf32>, tensor<i32>
  }) : (tensor<3xf32>, tensor<i32>) -> (tensor<3xf32>, tensor<i32>)
  return %r#0 : tensor<3xf32>
}"""
    with pytest.raises(LoweringError, match=r"custom_call at .*assertion inside a loop"):
        stablehlo_to_onnx(module)


def test_a_value_of_the_outside_may_be_a_branch() -> None:
    run_and_compare(lambda x, y: lax.cond(x.sum() > 0, lambda: (x, x), lambda: (y, x)), X, X * 2)
