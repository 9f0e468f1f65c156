"""Scans over the cells of LSTM and GRU, and over others."""

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
from jax import lax
from jax.nn import sigmoid

from swift_export.converter.passes.nested import all_nodes

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, run, run_and_compare

rng = np.random.default_rng(0)
STEPS, BATCH, ELEMENTS, UNITS = 5, 3, 4, 6
X = rng.standard_normal((STEPS, BATCH, ELEMENTS), np.float32)


def weight(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32) * np.float32(0.4)


W3, U3, B3, C3 = weight(ELEMENTS, 3 * UNITS), weight(UNITS, 3 * UNITS), weight(3 * UNITS), weight(3 * UNITS)
W4, U4, B4 = weight(ELEMENTS, 4 * UNITS), weight(UNITS, 4 * UNITS), weight(4 * UNITS)
JOINED = weight(ELEMENTS + UNITS, 4 * UNITS)
H, C = weight(BATCH, UNITS), weight(BATCH, UNITS)
Cell = Callable[[Any, Any], Any]


def gru(h: Any, x: Any) -> Any:
    """PyTorch's, Keras' and Flax's: the reset gate comes after the product."""
    (a, b, c), (d, e, f) = jnp.split(x @ W3 + B3, 3, -1), jnp.split(h @ U3 + C3, 3, -1)
    r, z = sigmoid(a + d), sigmoid(b + e)
    n = jnp.tanh(c + r * f)
    return (1 - z) * n + z * h


@jax.vmap
def gru_by_difference(h: Any, x: Any) -> Any:
    """Equinox': of vectors."""
    (a, b, c), (d, e, f) = jnp.split(W3.T @ x + B3, 3), jnp.split(U3.T @ h, 3)
    r, z = sigmoid(a + d), sigmoid(b + e)
    n = jnp.tanh(c + r * (f + C3[:UNITS]))
    return n + z * (h - n)


def gru_reset_before(h: Any, x: Any) -> Any:
    """Haiku's, and that of the paper: the update gate lets the new state in."""
    a, b, c = jnp.split(x @ W3, 3, -1)
    r, z = sigmoid(a + h @ U3[:, :UNITS]), sigmoid(b + h @ U3[:, UNITS : 2 * UNITS] - 0.5)
    n = jnp.tanh(c + (r * h) @ U3[:, 2 * UNITS :] + B3[:UNITS])
    return (1 - z) * h + z * n


def gru_by_step(h: Any, x: Any) -> Any:
    a, b, c = jnp.split(x @ W3 + B3, 3, -1)
    d, e, f = jnp.split(h @ U3, 3, -1)
    return h + sigmoid(b + e) * (jnp.tanh(sigmoid(d + a) * f + c) - h)


def lstm(state: Any, x: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(x @ W4 + h @ U4 + B4, 4, -1)
    c = sigmoid(f + 1) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def lstm_joined(state: Any, x: Any) -> Any:
    """One product of both; the state in the other order."""
    c, h = state
    gates = jnp.concatenate([x, h], -1) @ JOINED
    g = jnp.tanh(gates[:, :UNITS])
    i, f, o = jnp.split(sigmoid(gates[:, UNITS:]), 3, -1)
    c = g * i + c * f
    return c, jnp.tanh(c) * o


def scanned(cell: Cell, start: Any, rows: Callable[[Any], Any], reverse: bool = False) -> Callable[[Any], Any]:
    """The last state and a row of each step."""

    def step(state: Any, x: Any) -> Any:
        after = cell(state, x)
        return after, rows(after)

    return lambda x: lax.scan(step, start, x, reverse=reverse)


def ops(model: oir.Model) -> set[str]:
    return {node.op_type for node in all_nodes(model.graph)}


def first(state: Any) -> Any:
    return state[0]


def second(state: Any) -> Any:
    return state[1]


def itself(state: Any) -> Any:
    return state


@pytest.mark.parametrize(
    ("cell", "start", "rows", "op"),
    [
        (gru, H, itself, "GRU"),
        (gru_by_difference, H, itself, "GRU"),
        (gru_reset_before, H, itself, "GRU"),
        (gru_by_step, H, itself, "GRU"),
        (gru, H, lambda h: (h, h * 2), "GRU"),
        (gru, H, lambda h: None, "GRU"),
        (lstm, (H, C), first, "LSTM"),
        (lstm_joined, (C, H), second, "LSTM"),
    ],
)
def test_cells_become_one_op(cell: Cell, start: Any, rows: Callable[[Any], Any], op: str) -> None:
    for reverse in (False, True):
        model = run_and_compare(scanned(cell, start, rows, reverse), X, rtol=2e-6, symbolic=None)
        assert ops(model) & {"GRU", "LSTM"} == {op}


@pytest.mark.parametrize("cell", [gru, lstm])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_and_batches_of_unknown_size(cell: Cell, reverse: bool) -> None:
    def function(x: Any) -> Any:
        zeros = jnp.zeros((x.shape[1], UNITS)) + 0.5
        start = (zeros, zeros) if cell is lstm else zeros
        return scanned(cell, start, first if cell is lstm else itself, reverse)(x)

    model = lower(function, X, symbolic="t")
    assert ops(model) & {"GRU", "LSTM"} == {"LSTM" if cell is lstm else "GRU"}
    for length in (0, 1, 2, STEPS):
        expected = jax.tree.leaves(function(X[:length]))
        for found, wanted in zip(run(model, X[:length]), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("cell", [gru, lstm])
def test_sequences_without_a_batch(cell: Cell) -> None:
    def function(x: Any) -> Any:
        return scanned(cell, (H[0], C[0]) if cell is lstm else H[0], first if cell is lstm else itself, True)(x)

    for symbolic in (None, "t"):
        model = lower(function, X[:, 0], symbolic=symbolic)
        assert ops(model) & {"GRU", "LSTM"}
        for length in (STEPS, 0) if symbolic else (STEPS,):
            expected = jax.tree.leaves(function(X[:length, 0]))
            for found, wanted in zip(run(model, X[:length, 0]), expected, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


def test_an_empty_batch() -> None:
    def function(x: jax.Array) -> Any:
        x = jnp.swapaxes(x, 0, 1)
        return scanned(gru, jnp.zeros((x.shape[1], UNITS)), itself)(x)

    model = run_and_compare(function, X.swapaxes(0, 1), rtol=2e-6)
    assert "GRU" in ops(model)
    assert [found.shape for found in run(model, X.swapaxes(0, 1)[:0])] == [(0, UNITS), (STEPS, 0, UNITS)]


def test_both_directions() -> None:
    def function(x: jax.Array) -> jax.Array:
        rows = [scanned(lstm, (H, C), first, reverse)(x)[1] for reverse in (False, True)]
        return jnp.concatenate(rows, -1)

    model = run_and_compare(function, X, rtol=2e-6, symbolic=None)
    assert "LSTM" in ops(model)
    assert "Slice" not in [node.op_type for node in model.graph]


def test_gates_far_from_zero() -> None:
    """ONNX Runtime's gates are good to a part in 2**24 of 1, like the program's own sums."""
    run_and_compare(scanned(gru, H, itself), X * 50, rtol=2e-6, symbolic=None)
    run_and_compare(scanned(lstm, (H, C), first), X * 50, rtol=2e-6, symbolic=None)


@pytest.mark.parametrize(("cell", "start", "rows"), [(gru, H, itself), (lstm, (H, C), first)])
def test_numbers_that_are_none(cell: Cell, start: Any, rows: Callable[[Any], Any]) -> None:
    """ONNX Runtime's LSTM and GRU give numbers for NaN: there, and near infinity, the loop computes."""
    for reverse in (False, True):
        function = scanned(cell, start, rows, reverse)
        model = lower(function, X, symbolic=None)
        for numbers in ([np.nan], [np.inf], [np.inf, np.inf], [3e38, -3e38]):
            x = X.copy()
            x[2, 1, : len(numbers)] = numbers
            for found, wanted in zip(run(model, x), jax.tree.leaves(jax.jit(function)(x)), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


def of_size(cell: Cell, elements: int, units: int) -> tuple[Callable[[Any], Any], int]:
    """A scan over a cell with weights of its own, and their bytes."""
    gates = 3 if cell is gru else 4
    joined = cell is lstm_joined
    weights = {
        f"W{gates}": weight(elements, gates * units),
        f"U{gates}": weight(units, gates * units),
        f"B{gates}": weight(gates * units),
        "C3": weight(gates * units),
    }
    weights["JOINED"] = np.concatenate([weights[f"W{gates}"], weights[f"U{gates}"]])
    state = np.full((BATCH, units), 0.1, np.float32)

    def function(x: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name, array in {**weights, "UNITS": units}.items():
                patch.setitem(globals(), name, array)
            rows = second if joined else first if cell is lstm else itself
            return scanned(cell, state if cell is gru else (state, state), rows)(x)

    return function, weights["JOINED"].nbytes


@pytest.mark.parametrize("cell", [gru, lstm, lstm_joined])
def test_the_file_holds_the_weights_once(cell: Cell) -> None:
    """The loop beside the op reads the op's; it still gives NaN where XLA does."""
    function, size = of_size(cell, 16, 32)
    x = rng.standard_normal((STEPS, BATCH, 16), np.float32)
    model = run_and_compare(function, x, rtol=2e-6, symbolic=None)
    assert ops(model) & {"GRU", "LSTM"}
    assert sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value) < 1.25 * size
    x[1, 1, 1] = np.nan
    for optimized in (False, True):
        for found, wanted in zip(run(model, x, optimized=optimized), jax.tree.leaves(function(x)), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


def masked(cell: Cell, start: Any, reverse: bool) -> Callable[[Any, Any], Any]:
    """States stay where a mask is false; each step gives the state, as it is and with zeros there."""

    def step(state: Any, row: Any) -> Any:
        x, takes = row[0], row[1][:, None]
        after = cell(state, x)
        kept = jax.tree.map(lambda new, old: jnp.where(takes, new, old), after, state)
        new, old = jax.tree.leaves(after)[0], jax.tree.leaves(kept)[0]
        return kept, (old, jnp.where(takes, new, 0))

    return lambda x, mask: lax.scan(step, start, (x, mask), reverse=reverse)


@pytest.mark.parametrize(("cell", "start", "reverse"), [(gru, H, True), (lstm, (H, C), False), (lstm, (H, C), True)])
def test_sequences_of_different_lengths(cell: Cell, start: Any, reverse: bool) -> None:
    """Also lengths of 0 and masks with gaps, for which the loop computes."""
    function = masked(cell, start, reverse)
    mask = np.arange(STEPS)[:, None] < np.array([3, STEPS, 1])
    model = lower(function, X, mask, symbolic="t" if cell is gru else None)
    assert ops(model) & {"GRU", "LSTM"}
    gaps = mask.copy()
    gaps[[1, 4], [0, 2]] = [False, True]
    compiled = jax.jit(function)
    for takes in (mask, gaps, mask & [True, True, False]):
        wanted = jax.tree.leaves(compiled(X, takes))
        for optimized in (False, True):
            for found, expected in zip(run(model, X, takes, optimized=optimized), wanted, strict=True):
                np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def relu_gru(h: Any, x: Any) -> Any:
    (a, b, c), (d, e, f) = jnp.split(x @ W3, 3, -1), jnp.split(h @ U3, 3, -1)
    n = jax.nn.relu(c + sigmoid(a + d) * f)
    z = sigmoid(b + e)
    return (1 - z) * n + z * h


def gru_of_both(h: Any, x: Any) -> Any:
    (a, b, c), (d, e, f) = jnp.split(x @ W3, 3, -1), jnp.split(h @ U3, 3, -1)
    z = sigmoid(b + e)
    return (1 - z) * jnp.tanh(c + f + sigmoid(a + d) * f) + z * h


def gru_with_two_gates(h: Any, x: Any) -> Any:
    (a, b, c), (d, e, f) = jnp.split(x @ W3, 3, -1), jnp.split(h @ U3, 3, -1)
    return (1 - sigmoid(b + e)) * jnp.tanh(c + sigmoid(a + d) * f) + sigmoid(b - e) * h


def gru_of_one_gate(h: Any, x: Any) -> Any:
    z = sigmoid(x[:, :1] + h[:, :1])
    return (1 - z) * jnp.tanh(x @ W3[:, :UNITS] + sigmoid(x[:, 1:2]) * h) + z * h


def gru_that_reads_a_batch(h: Any, x: Any) -> Any:
    return gru(h, x + H[:, :ELEMENTS])


def peephole(state: Any, x: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(x @ W4 + h @ U4, 4, -1)
    new = sigmoid(f + c) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(new), new


def masked_by_units(h: Any, x: Any) -> Any:
    return jnp.where(jnp.asarray(H) > 0, gru(h, x), h)


@pytest.mark.parametrize(
    ("cell", "start", "rows"),
    [
        (relu_gru, H, itself),
        (gru_of_both, H, itself),
        (gru_with_two_gates, H, itself),
        (gru_of_one_gate, H, itself),
        (gru_that_reads_a_batch, H, itself),
        (masked_by_units, H, itself),
        (peephole, (H, C), first),
        (lstm, (H, C), second),
    ],
)
def test_other_cells_stay_loops(cell: Cell, start: Any, rows: Callable[[Any], Any]) -> None:
    model = run_and_compare(scanned(cell, start, rows), X, rtol=2e-6, symbolic=None)
    assert ops(model) & {"Loop", "GRU", "LSTM"} == {"Loop"}


def test_a_part_of_the_rows_stays_a_loop() -> None:
    def function(x: jax.Array) -> Any:
        return lax.fori_loop(0, STEPS - 1, lambda i, h: gru(h, x[i]), H)

    model = run_and_compare(function, X, rtol=2e-6, symbolic=None)
    assert "GRU" not in ops(model)
    whole = run_and_compare(
        lambda x: lax.fori_loop(0, STEPS, lambda i, h: gru(h, x[i]), H), X, rtol=2e-6, symbolic=None
    )
    assert "GRU" in ops(whole)
