"""Eigenvalues and singular values against LAPACK's, by way of JAX, and by what defines them.

The signs of vectors are free, and bases for equal values: here a vector is right if it solves the equation.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare

from swift_export.system.arrays import as_complex

TYPES = [np.float32, np.float64]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def turned(x: np.ndarray) -> np.ndarray:
    return np.conj(x).swapaxes(-1, -2)


def wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.result_type(x, np.float64))


def computed(model: Any, x: np.ndarray) -> list[np.ndarray]:
    """The results in ONNX Runtime; of a complex operand, all but one real vector a matrix are complex, too."""
    found = run(model, x)
    return [as_complex({"": v}, {"": "complex64"})[""] if x.dtype.kind == "c" and v.ndim == 4 else v for v in found]


def roundings(found: np.ndarray, right: np.ndarray, scale: np.ndarray | float, dtype: type) -> float:
    """The largest difference, in roundings of each matrix's scale."""
    difference = np.abs(wide(found) - right).reshape(len(found), -1).max(axis=1, initial=0)
    return float((difference / (scale * np.finfo(dtype).eps)).max())


def assert_as_close(ours: list[float], theirs: list[float], size: int) -> None:
    """Twice as far as LAPACK's from what is exact, or one rounding for each row."""
    assert all(x <= max(2 * y, size, 4) for x, y in zip(ours, theirs, strict=True)), (ours, theirs)


def kinds(rows: int, columns: int, dtype: type) -> np.ndarray:
    """Plain, zero, ones, with ones on the diagonal, of rank one, of small integers, nearly orthogonal, with columns of
    very different sizes, very large, very small.
    """
    x = noise(10, rows, columns)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * noise(10, rows, columns, seed=1)
    x[1], x[2], x[3] = 0, 1, np.eye(rows, columns)
    x[4] = x[4, :, :1] * x[4, :1]
    x[5] = np.round(x[5])
    x[6] = np.eye(rows, columns) + 1e-7 * x[6]
    x[7] *= 10.0 ** -np.arange(0, 4 * columns, 4)
    x[8] *= 1e30
    x[9] *= 1e-30
    return x.astype(dtype)


@pytest.mark.parametrize(("dtype", "size"), [*product(TYPES, [1, 2, 5, 12]), (np.complex64, 20)])
def test_symmetric_matrices(dtype: type, size: int) -> None:
    x = kinds(size, size, dtype)
    x = x + turned(x)
    exact = np.linalg.eigvalsh(wide(x))
    scale = np.maximum(np.abs(exact).max(axis=1), 1e-40)

    def distances(values: np.ndarray, vectors: np.ndarray) -> list[float]:
        v = wide(vectors)
        image = v * wide(values)[:, None]
        return [
            roundings(values, exact, scale, dtype),
            roundings(wide(x) @ v, image, scale, dtype),
            roundings(turned(v) @ v, np.eye(size), 1, dtype),
        ]

    with jax.enable_x64(dtype == np.float64):
        values, vectors = computed(lower(jnp.linalg.eigh, x), x)
        theirs = [np.asarray(v) for v in jnp.linalg.eigh(x)]
    assert (values.dtype, vectors.dtype) == (theirs[0].dtype, dtype)
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
        (np.complex64, 16, 20, True),
    ],
)
def test_singular_values(dtype: type, rows: int, columns: int, full: bool) -> None:
    """U and V are orthogonal for matrices of any rank, zero included."""
    x = kinds(rows, columns, dtype)
    exact = np.linalg.svd(wide(x), compute_uv=False)
    scale = np.maximum(exact[:, 0], 1e-40)

    def distances(u: np.ndarray, values: np.ndarray, v: np.ndarray) -> list[float]:
        u, s, v = map(wide, (u, values, v))
        count = s.shape[1]
        return [
            roundings(values, exact, scale, dtype),
            roundings((u[:, :, :count] * s[:, None]) @ v[:, :count], wide(x), scale, dtype),
            roundings(turned(u) @ u, np.eye(u.shape[2]), 1, dtype),
            roundings(v @ turned(v), np.eye(v.shape[1]), 1, dtype),
        ]

    def factors(x: Any) -> Any:
        return jnp.linalg.svd(x, full_matrices=full)

    with jax.enable_x64(dtype == np.float64):
        ours, theirs = computed(lower(factors, x), x), [np.asarray(v) for v in factors(x)]
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


def test_values_alone_have_no_vectors_to_note() -> None:
    """Their signs are free, and to turn them is half of the work."""
    x = noise(3, 3).astype(np.float32)
    for values, factors in (
        (jnp.linalg.eigvalsh, jnp.linalg.eigh),
        (lambda x: jnp.linalg.svd(x)[1], jnp.linalg.svd),
    ):
        alone, whole = lower(values, x, symbolic=None), lower(factors, x, symbolic=None)
        assert not alone.meta["notes"]
        assert any("signs" in note for note in whole.meta["notes"])
        states = [len(node.inputs) for model in (alone, whole) for node in model.graph if node.op_type == "Loop"]
        assert states[0] < states[1]


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
