"""Pad against JAX: edges, between elements, negative widths, widths by unknown sizes, every type."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run_and_compare
from edges import FLOATS, INTEGERS, compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4, 5), np.float32)

#: Low, high and interior widths of two axes, of sizes 4 and 5.
WIDTHS = [
    [(0, 0, 0), (0, 0, 0)],
    [(1, 2, 0), (0, 3, 0)],
    [(0, 0, 2), (0, 0, 0)],
    [(0, 2, 2), (0, 1, 1)],
    [(1, 0, 1), (2, 3, 3)],
    [(-1, 0, 0), (0, -2, 0)],
    [(-2, 3, 0), (4, -1, 0)],
    [(-3, 1, 2), (1, -4, 1)],
    [(-9, 6, 0), (0, 0, 0)],
    [(6, -9, 0), (-4, -1, 0)],
    [(-2, -2, 0), (0, 0, 5)],
]


def padded(x: jax.Array, value: jax.Array) -> list[jax.Array]:
    return [lax.pad(x, value, widths) for widths in WIDTHS]


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_every_type(dtype: str) -> None:
    kind = np.dtype("float32" if dtype == "bfloat16" else dtype)
    value = np.asarray(np.iinfo(kind).max if dtype in INTEGERS else dtype == "bool" or -0.0, kind)
    x = rng.integers(0, 9, (4, 5)).astype(kind)
    compare(padded, x, value, dtype=dtype)
    if kind.kind == "f":
        compare(padded, np.where(x < 4, np.nan, -x).astype(kind), np.asarray(np.inf, kind), dtype=dtype)


@pytest.mark.parametrize("shape", [(0,), (1,), (2,)])
def test_short_axes(shape: tuple[int, ...]) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        return [lax.pad(x, np.float32(7), [w]) for w in ((0, 0, 3), (1, 2, 3), (2, -1, 1), (-1, 3, 2))]

    compare(function, np.ones(shape, np.float32))


def test_a_scalar() -> None:
    compare(lambda x: lax.pad(x, np.float32(7), []), np.asarray(3, np.float32))


UNKNOWN: dict[str, Callable[[jax.Array], object]] = {
    "other axes": lambda x: lax.pad(x, np.float32(2), [(0, 0, 0), (1, -2, 1), (-1, 3, 0)]),
    "edges of the batch": lambda x: lax.pad(x, np.float32(2), [(1, 2, 0), (0, 0, 0), (0, 0, 0)]),
    "cropped batch": lambda x: lax.pad(x, np.float32(2), [(2, -3, 0), (0, 0, 0), (0, 0, 0)]),
    "between the batch": lambda x: lax.pad(x, np.float32(2), [(1, -1, 2), (0, 0, 0), (0, 0, 0)]),
    "as wide as the batch": lambda x: lax.pad(x, np.float32(2), [(0, 0, 0), (x.shape[0], 0, 0), (0, 0, 0)]),
    "a width of unknown sign": lambda x: lax.pad(
        x, np.float32(2), [(0, 0, 0), (5 - x.shape[0], x.shape[0], 0), (0, 0, 0)]
    ),
    "modes": lambda x: [jnp.pad(x, ((0, 0), (1, 2), (3, 0)), mode=mode) for mode in ("edge", "reflect", "wrap")],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_batch(name: str) -> None:
    run_and_compare(UNKNOWN[name], X, rtol=0)


def test_plain_edges_are_one_node() -> None:
    model = run_and_compare(lambda x: lax.pad(x, np.float32(2), [(0, 0, 0), (1, 2, 0), (0, 3, 0)]), X, symbolic=None)
    assert op_types(model) == {"Pad": 1}


def moved(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """The function on axes in another order: ONNX Runtime's optimiser moves one Transpose through to the other."""
    return lambda x: jnp.transpose(function(jnp.transpose(x, (0, 2, 1))), (0, 2, 1)) + 1


@pytest.mark.parametrize("widths", [(1, 1, 0), (0, 0, 2), (-1, 2, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_between_transposes(axis: int, widths: tuple[int, int, int]) -> None:
    every = [widths if a == axis else (0, 0, 0) for a in range(3)]
    run_and_compare(moved(lambda x: lax.pad(x, np.float32(2), every)), X, rtol=0)


def test_between_transposes_by_the_batch() -> None:
    run_and_compare(moved(lambda x: lax.pad(x, np.float32(2), [(0, 0, 0), (x.shape[0], 1, 0), (0, 0, 0)])), X, rtol=0)


def test_between_convolutions_with_channels_last() -> None:
    x, kernel = rng.standard_normal((1, 9, 9, 3), np.float32), rng.standard_normal((3, 3, 3, 3), np.float32)

    def convolved(x: jax.Array, *strides: int) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    run_and_compare(
        lambda x: convolved(jnp.pad(convolved(x, 1, 1), ((0, 0), (0, 1), (0, 1), (0, 0))), 2, 2), x, rtol=1e-5
    )


def turns(low: int, high: int, between: int, value: float = 0) -> Callable[[jax.Array], jax.Array]:
    """Elements along the last axis with others of a value between, before and behind them."""
    return lambda x: lax.pad(x, np.asarray(value, x.dtype), [(0, 0, 0), (low, high, between)])


def test_elements_of_two_arrays_in_turn() -> None:
    """As associative scans put their halves together."""

    def function(x: jax.Array) -> list[jax.Array]:
        scans = [lax.associative_scan(jnp.multiply, x[:, :n], axis=1) for n in (1, 7, 8)]
        scans.append(lax.associative_scan(jnp.add, x[:, :6].T.astype(jnp.int32), axis=0, reverse=True))
        scans.append(lax.associative_scan(jnp.logical_or, x[:, :5] > 1, axis=1))
        ours, theirs = turns(0, 1, 1), turns(1, 0, 1)
        sums = [
            ours(x) + theirs(x + 1),
            theirs(x) + turns(0, 1, 1, -0.0)(-x),
            turns(0, 0, 1)(x) + turns(1, 1, 1)(x[:, 1:]),
        ]
        return [*scans, *sums]

    x = np.array([[1, 2, -0.0, 3, -1, 2, 1, 0.5, 1, -0.0], [-0.0, 1, np.inf, 2, np.nan, 1, 0.0, 3, 2, 1]], np.float32)
    model = compare(function, x)
    assert "Pad" not in op_types(model)


def test_sums_of_other_padded_arrays() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        ours, theirs = turns(0, 1, 1), turns(1, 0, 1)
        sums = [ours(x) + ours(x), ours(x) + turns(1, 0, 1, 2)(x), turns(0, 2, 2)(x) + turns(1, 1, 2)(x)]
        sums += [turns(0, 1, 1)(x) * theirs(x), turns(-1, 1, 1)(x) + turns(0, 0, 1)(x), ours(x) + theirs(x[:1])]
        return sums

    compare(function, rng.standard_normal((2, 5)).astype(np.float32))
