"""Eigenvalues and singular values against LAPACK's, by way of JAX, and by what defines them.

The signs of vectors are free, and bases for equal values: here a vector is right if it solves the equation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare

TYPES = [np.float32, np.float64]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def turned(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(-1, -2)


def roundings(found: np.ndarray, right: np.ndarray, scale: np.ndarray | float, dtype: type) -> float:
    """The largest difference, in roundings of each matrix's scale."""
    difference = np.abs(found.astype(np.float64) - right).reshape(len(found), -1).max(axis=1, initial=0)
    return float((difference / (scale * np.finfo(dtype).eps)).max())


def assert_as_close(ours: list[float], theirs: list[float], size: int) -> None:
    """Twice as far as LAPACK's from what is exact, or one rounding for each row."""
    assert all(x <= max(2 * y, size, 4) for x, y in zip(ours, theirs, strict=True)), (ours, theirs)


def kinds(rows: int, columns: int) -> np.ndarray:
    """Plain, zero, ones, with ones on the diagonal, of rank one, of small integers, nearly orthogonal, with columns of
    very different sizes, very large, very small.
    """
    x = noise(10, rows, columns)
    x[1], x[2], x[3] = 0, 1, np.eye(rows, columns)
    x[4] = x[4, :, :1] * x[4, :1]
    x[5] = np.round(x[5])
    x[6] = np.eye(rows, columns) + 1e-7 * x[6]
    x[7] *= 10.0 ** -np.arange(0, 4 * columns, 4)
    x[8] *= 1e30
    x[9] *= 1e-30
    return x


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_symmetric_matrices(dtype: type, size: int) -> None:
    x = kinds(size, size)
    x = (x + turned(x)).astype(dtype)
    exact = np.linalg.eigvalsh(x.astype(np.float64))
    scale = np.maximum(np.abs(exact).max(axis=1), 1e-40)

    def distances(values: np.ndarray, vectors: np.ndarray) -> list[float]:
        v = vectors.astype(np.float64)
        image = v * values[:, None].astype(np.float64)
        return [
            roundings(values, exact, scale, dtype),
            roundings(x.astype(np.float64) @ v, image, scale, dtype),
            roundings(turned(v) @ v, np.eye(size), 1, dtype),
        ]

    with jax.enable_x64(dtype == np.float64):
        values, vectors = run(lower(jnp.linalg.eigh, x), x)
        theirs = [np.asarray(v) for v in jnp.linalg.eigh(x)]
    assert (values.dtype, vectors.dtype) == (dtype, dtype)
    assert (np.diff(values) >= 0).all()
    assert_as_close(distances(values, vectors), distances(*theirs), size)


@pytest.mark.parametrize(
    ("dtype", "rows", "columns", "full"),
    [
        (np.float32, 1, 1, False),
        (np.float32, 3, 3, True),
        (np.float32, 4, 7, True),
        (np.float32, 12, 10, False),
        (np.float64, 4, 6, False),
        (np.float64, 9, 4, True),
    ],
)
def test_singular_values(dtype: type, rows: int, columns: int, full: bool) -> None:
    """U and V are orthogonal for matrices of any rank, zero included."""
    x = kinds(rows, columns).astype(dtype)
    exact = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    scale = np.maximum(exact[:, 0], 1e-40)

    def distances(u: np.ndarray, values: np.ndarray, v: np.ndarray) -> list[float]:
        u, s, v = (a.astype(np.float64) for a in (u, values, v))
        count = s.shape[1]
        return [
            roundings(values, exact, scale, dtype),
            roundings((u[:, :, :count] * s[:, None]) @ v[:, :count], x.astype(np.float64), scale, dtype),
            roundings(turned(u) @ u, np.eye(u.shape[2]), 1, dtype),
            roundings(v @ turned(v), np.eye(v.shape[1]), 1, dtype),
        ]

    def factors(x: Any) -> Any:
        return jnp.linalg.svd(x, full_matrices=full)

    with jax.enable_x64(dtype == np.float64):
        ours, theirs = run(lower(factors, x), x), [np.asarray(v) for v in factors(x)]
    assert [(a.dtype, a.shape) for a in ours] == [(a.dtype, a.shape) for a in theirs]
    assert (np.diff(ours[1]) <= 0).all()
    assert_as_close(distances(*ours), distances(*theirs), max(rows, columns))


def test_what_does_not_depend_on_signs() -> None:
    def aligned(p: Any, q: Any) -> Any:
        u, _, v = jnp.linalg.svd(jnp.einsum("bni,bnj->bij", p - p.mean(1, keepdims=True), q))
        return (u * jnp.sign(jnp.linalg.det(u @ v))[:, None, None]) @ v

    p, q = noise(2, 9, 3).astype(np.float32), noise(2, 9, 3, seed=1).astype(np.float32)
    run_and_compare(aligned, p, q, rtol=1e-5)

    def results(x: Any) -> Any:
        square = jnp.swapaxes(x, 1, 2) @ x
        upper = jnp.linalg.eigh(jnp.triu(square), UPLO="U", symmetrize_input=False)[0]
        ranks = jnp.linalg.matrix_rank(x), jnp.linalg.cond(x), jnp.linalg.norm(x, "nuc", axis=(1, 2))
        return jnp.linalg.pinv(x), jnp.linalg.eigvalsh(square), upper, ranks

    run_and_compare(results, q, rtol=1e-4)
    run_and_compare(lambda a, y: jnp.linalg.lstsq(a, y), p[0], q[0, :, 0], rtol=1e-5, symbolic=None)


def test_matrices_that_are_not_finite_spoil_no_others() -> None:
    x = np.stack([np.eye(3), noise(3, 3), np.eye(3), noise(3, 3)]).astype(np.float32)
    x[0, 1, 1], x[2, 0, 2], x[2, 2, 0] = np.nan, np.inf, np.inf

    def results(x: Any) -> Any:
        return *jnp.linalg.svd(x), *jnp.linalg.eigh(x)

    model = lower(results, x)
    whole, alone = run(model, x), run(model, x[1::2])
    for some, finite in zip(whole, alone, strict=True):
        assert np.isnan(some[::2]).all()
        np.testing.assert_allclose(some[1::2], finite, rtol=1e-6)
    assert [v.size for v in run(model, x[:0])] == [0] * 5


def test_matrices_of_no_rows() -> None:
    model = run_and_compare(jnp.linalg.eigh, np.zeros((2, 0, 0), np.float32))
    assert "Loop" not in op_types(model)
