"""Loops with a counter: scan, map and fori_loop, whose arrays of one row a step are no state of the loop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest
from jax import export, lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.converter.passes.nested import all_nodes

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((5, 3, 4), np.float32)
START = np.ones((3, 4), np.float32)


def running(reverse: bool) -> Callable[[Any], Any]:
    """A scan that carries a state and gives it at each step."""
    return lambda x: lax.scan(lambda h, t: (jnp.tanh(h * 0.5 + t), h - t), START, x, reverse=reverse)


def loops(model: oir.Model) -> list[oir.Node]:
    """All loops, inner ones too."""
    return [node for node in all_nodes(model.graph) if node.op_type == "Loop"]


def states(loop: oir.Node) -> int:
    """The number of a loop's states."""
    return len(loop.inputs) - 2


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_scan_of_known_length(length: int, reverse: bool) -> None:
    run_and_compare(running(reverse), X[:length], symbolic=None)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_of_unknown_length_carries_only_its_state(reverse: bool) -> None:
    model = run_and_compare(running(reverse), X, rtol=1e-5)
    (loop,) = loops(model)
    assert states(loop) == 1
    for length in (0, 1):
        for found, wanted in zip(run(model, X[:length]), running(reverse)(X[:length]), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_map_of_a_large_result_has_no_state() -> None:
    model = run_and_compare(lambda x: lax.map(lambda t: jnp.tile(jnp.sin(t) @ t.T, (8, 8)), x), X)
    (loop,) = loops(model)
    assert states(loop) == 0


def test_rows_and_state_of_several_types_and_ranks() -> None:
    def step(state: Any, row: Any) -> Any:
        total, flag = state
        x, n, h = row
        return (total + n, flag ^ (n > 2)), (x.sum(), n * 2, flag, h + h, x[None])

    x, n, h = X, np.arange(5, dtype=np.int32), np.ones((5, 2), np.float16)
    run_and_compare(lambda *rows: lax.scan(step, (jnp.int32(0), jnp.bool_(True)), rows), x, n, h, rtol=1e-5)


def test_nested_scans() -> None:
    def outer(x: jax.Array) -> Any:
        def step(h: jax.Array, rows: jax.Array) -> Any:
            return lax.scan(lambda c, t: (c * 0.5 + t, c), h, rows, reverse=True)

        return lax.scan(step, jnp.zeros(4), x)

    model = run_and_compare(outer, X)
    assert [states(loop) for loop in loops(model)] == [1, 1]


def test_an_inner_loop_as_long_as_the_outer_step() -> None:
    def function(x: jax.Array) -> jax.Array:
        found: jax.Array = lax.fori_loop(0, 5, lambda i, c: lax.fori_loop(0, i, lambda j, d: d + x[j] * i, c), x[0])
        return found

    run_and_compare(function, X, symbolic=None, rtol=1e-5)


def test_fori_loop_writes_rows_beside_others() -> None:
    def function(x: jax.Array) -> Any:
        low = lax.fori_loop(1, 4, lambda i, y: y.at[i].set(jnp.sin(x[i - 1]) + i), x)
        high = lax.fori_loop(0, 3, lambda i, y: lax.dynamic_update_index_in_dim(y, x[i], 3 - i, 0), x * 2)
        return low, high, lax.fori_loop(0, 5, lambda i, y: y.at[i].set(y[i] * i), x)

    model = run_and_compare(function, X, symbolic=None)
    assert not loops(model)


@pytest.mark.parametrize(
    "body",
    [
        lambda x, i, y: y.at[i].set(x[i] + y[i - 1]),
        lambda x, i, y: y.at[i].set(y.sum(0)),
        lambda x, i, y: y.at[i // 2].set(x[i]),
        lambda x, i, y: y.at[i + 3].set(x[i]),
        lambda x, i, y: y.at[4 - 2 * i].set(x[i], mode="drop"),
        lambda x, i, y: y.at[i].set(x[i]).at[0].set(x[4]),
        lambda x, i, y: y.at[i].set(x[i]) * 2,
        lambda x, i, y: y.at[i].add(x[i]),
        lambda x, i, y: lax.cond(i > 2, lambda: y.at[i].set(x[i]), lambda: y),
        lambda x, i, y: lax.dynamic_update_slice(y, x[:2], (i, 0, 0)),
    ],
)
def test_arrays_that_are_states(body: Callable[..., jax.Array]) -> None:
    """Each reads the array, writes a row twice, or writes rows that lie outside."""
    model = run_and_compare(lambda x: lax.fori_loop(0, 5, lambda i, y: body(x, i, y), x * 3), X, symbolic=None)
    assert states(loops(model)[0]) == 1


def test_arrays_that_change_places() -> None:
    def function(x: jax.Array) -> Any:
        return lax.fori_loop(0, 5, lambda i, c: (c[1].at[i].set(x[i]), c[0].at[i].set(x[i] + 1)), (x, x * 2))

    run_and_compare(function, X, symbolic=None)


def test_a_counter_as_data_and_beyond_its_type() -> None:
    def function(x: jax.Array) -> Any:
        def step(state: Any, t: jax.Array) -> Any:
            i, seed = state
            hashed = i * 1664525 + 1013904223
            return (i + 1, seed + 1), (t * i, hashed, hashed // 3, hashed % 7, seed)

        return lax.scan(step, (jnp.int32(0), jnp.int32(2**31 - 3)), x)

    run_and_compare(function, np.ones((9, 2), np.float32), symbolic=None)
    run_and_compare(function, np.ones((9, 2), np.float32))


def test_counters_of_64_bits() -> None:
    with jax.enable_x64(True):
        x = np.arange(12, dtype=np.float64).reshape(4, 3)
        run_and_compare(lambda x: lax.scan(lambda c, t: (c + t, c * t), jnp.zeros(3), x, reverse=True), x)


def test_outputs_that_nothing_reads() -> None:
    model = run_and_compare(lambda x: running(False)(x)[0], X, symbolic=None)
    assert [states(loop) for loop in loops(model)] == [1]
    last = lower(lambda x: running(False)(x)[1][-1], X, symbolic=None)
    np.testing.assert_allclose(run(last, X)[0], running(False)(X)[1][-1], rtol=1e-6)


def test_batches_of_unknown_size() -> None:
    def function(x: jax.Array) -> Any:
        return lax.scan(lambda h, t: (h + t, h * t), jnp.zeros((x.shape[0], 4)), jnp.swapaxes(x, 0, 1), reverse=True)

    model = run_and_compare(function, X)
    (loop,) = loops(model)
    assert states(loop) == 1
    assert op_types(model)["Loop"] == 1


def test_no_rows_of_unknown_size() -> None:
    t, b = export.symbolic_shape("t, b")
    scan = lambda x: lax.scan(lambda h, t: (h + t, h * t), jnp.zeros((x.shape[1], 4)), x)  # noqa: E731
    exported = export.export(jax.jit(scan))(jax.ShapeDtypeStruct((t, b, 4), np.float32))
    model = stablehlo_to_onnx(exported.mlir_module_serialized)
    for steps, batch in ((0, 3), (2, 0), (0, 0), (2, 3)):
        shapes = [found.shape for found in run(model, np.ones((steps, batch, 4), np.float32))]
        assert shapes == [(batch, 4), (steps, batch, 4)]


def test_a_condition_that_is_a_state() -> None:
    module = """func.func @main(%x: tensor<3xf32>, %go: tensor<i1>) -> tensor<3xf32> {
  %r:2 = "stablehlo.while"(%x, %go) ({
  ^bb0(%a: tensor<3xf32>, %g: tensor<i1>):
    stablehlo.return %g : tensor<i1>
  }, {
  ^bb0(%a: tensor<3xf32>, %g: tensor<i1>):
    %no = stablehlo.constant dense<false> : tensor<i1>
    %twice = stablehlo.add %a, %a : tensor<3xf32>
    stablehlo.return %twice, %no : tensor<3xf32>, tensor<i1>
  }) : (tensor<3xf32>, tensor<i1>) -> (tensor<3xf32>, tensor<i1>)
  return %r#0 : tensor<3xf32>
}"""
    model, x = stablehlo_to_onnx(module), np.arange(3, dtype=np.float32)
    for go, times in ((True, 2), (False, 1)):
        np.testing.assert_array_equal(run(model, x, np.asarray(go))[0], x * times)


def test_a_single_step_needs_no_loop() -> None:
    def once(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, rows = lax.scan(lambda h, t: (jnp.tanh(h * 0.5 + t), h - t), START, x[:1])
        return lax.fori_loop(2, 3, lambda i, h: h * i + x[i], first), rows

    assert loops(run_and_compare(once, X, symbolic=None)) == []
