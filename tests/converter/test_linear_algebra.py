"""Factorizations against LAPACK's, by way of JAX; their errors are held against float64."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax._src.lax import linalg

import swift_export
from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError
from swift_export.system.arrays import as_pairs

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, run, run_and_compare

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13, np.complex64: 1e-5, np.complex128: 1e-13}

#: Ours may be so many times as far from float64 as JAX is, or from exact by so many roundings of the largest number.
MULTIPLE, ROUNDINGS = 4, 8


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def of_type(dtype: type, *shape: int, seed: int = 0) -> np.ndarray:
    """Noise of a type, complex numbers included."""
    x = noise(*shape, seed=seed)
    return (x + 1j * noise(*shape, seed=seed + 10)).astype(dtype) if np.dtype(dtype).kind == "c" else x.astype(dtype)


def errors(function: Callable[..., Any], *arrays: np.ndarray, symbolic: str | None = "b") -> None:
    """Compute in float32; hold ours and JAX's against JAX in float64."""
    single = [a.astype(np.float32) for a in arrays]
    with jax.enable_x64(True):
        exact = [np.asarray(v) for v in jax.tree.leaves(jax.jit(function)(*[a.astype(np.float64) for a in single]))]
    with jax.enable_x64(False):
        theirs = [np.asarray(v) for v in jax.tree.leaves(jax.jit(function)(*single))]
        ours = run(lower(function, *single, symbolic=symbolic), *single)
    for x, y, right in zip(ours, theirs, exact, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        least = ROUNDINGS * np.finfo(np.float32).eps * np.abs(right).max()
        assert np.abs(x - right).max() <= max(MULTIPLE * np.abs(y - right).max(), least)


@pytest.mark.parametrize(
    ("dtype", "rows", "columns"),
    [
        (np.float32, 3, 3),
        (np.float64, 5, 2),
        (np.float32, 2, 4),
        (np.float32, 11, 10),
        (np.float64, 9, 12),
        (np.complex64, 3, 2),
    ],
)
def test_factors_are_lapacks(dtype: type, rows: int, columns: int) -> None:
    """Signs, pivots and the order of rows too; beyond eight steps by loops."""

    def factors(x: Any) -> Any:
        thin, full = jnp.linalg.qr(x), jnp.linalg.qr(x, mode="complete")
        square = x @ jnp.conj(jnp.swapaxes(x, 1, 2)) + jnp.eye(rows, dtype=x.dtype)
        return jnp.linalg.cholesky(square), jnp.linalg.cholesky(square, upper=True), jax.lax.linalg.lu(x), thin, full

    with jax.enable_x64(dtype in (np.float64, np.complex128)):
        run_and_compare(factors, of_type(dtype, 2, rows, columns), rtol=TOLERANCE[dtype], symbolic=None)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 3), (np.float64, 9), (np.complex64, 3)])
def test_triangular_systems(dtype: type, size: int) -> None:
    """On both sides, with both triangles, transposed or not, conjugate or not. The elements that must not be read are
    NaN.
    """
    a = (of_type(dtype, 2, size, size) + 3 * np.eye(size)).astype(dtype)
    below, above = (np.where(triangle(np.ones((size, size))), a, np.nan) for triangle in (np.tril, np.triu))
    ones = np.where(np.eye(size), np.nan, below)

    def solutions(below: Any, above: Any, ones: Any, right: Any) -> Any:
        found = []
        for left, turn in product([True, False], [True, False]):
            rhs, how = right if left else jnp.swapaxes(right, 1, 2), {"transpose_a": turn, "conjugate_a": left}
            for a, options in ((below, {"lower": True}), (above, {}), (ones, {"lower": True, "unit_diagonal": True})):
                found.append(jax.lax.linalg.triangular_solve(a, rhs, left_side=left, **how, **options))
        return found

    arrays = [*(v.astype(dtype) for v in (below, above, ones)), of_type(dtype, 2, size, 4, seed=1)]
    with jax.enable_x64(dtype == np.float64):
        run_and_compare(solutions, *arrays, rtol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1), (np.float32, 4), (np.float64, 12)])
def test_tridiagonal_systems(dtype: type, size: int) -> None:
    """With exchanges of rows, and a singular matrix. The elements that must not be read are NaN."""
    diagonals = noise(3, 3, size).astype(dtype)
    diagonals[0, :, 0] = diagonals[2, :, -1] = np.nan
    diagonals[1, 1] = diagonals[0, 1, 1:] = 0
    below, middle, above = diagonals
    assert size == 1 or (np.abs(below[:, 1:]) > np.abs(middle[:, :-1])).any()
    with jax.enable_x64(dtype == np.float64):
        run_and_compare(
            jax.lax.linalg.tridiagonal_solve,
            *(below, middle, above, noise(3, size, 2, seed=1).astype(dtype)),
            rtol=100 * TOLERANCE[dtype],
        )


def test_matrices_without_the_factor() -> None:
    """Not positive definite: NaN, in this matrix only; NaN spreads; singular: zeros and infinities where LAPACK has."""
    plain = np.array([[[4, 2, 0], [2, 5, 1], [0, 1, 3]]], np.float32)
    matrices = np.concatenate([plain, -plain, plain * 0, plain, plain])
    matrices[3, 2, 2], matrices[4, 1, 0] = -1, np.nan
    run_and_compare(lambda x: jax.lax.linalg.cholesky(x, symmetrize_input=False), matrices)
    singular = np.array([[[1, 7], [5, 0]], [[0, 1], [2, 2]]], np.float32)
    run_and_compare(lambda a: jax.lax.linalg.triangular_solve(a, a, left_side=True, lower=True), singular)
    zeros = np.array([[[-0.0, 1], [1, 1]], [[0, 1], [1, 1]], [[0, 0], [0, 0]], [[-1, 2], [0, -3]]], np.float32)
    run_and_compare(lambda x: (jnp.linalg.qr(x), jax.lax.linalg.lu(x), jnp.linalg.slogdet(x)), zeros, symbolic=None)
    ties = np.sign(noise(6, 4, 4)).astype(np.float32)
    run_and_compare(jax.lax.linalg.lu, ties, symbolic=None)


@pytest.mark.parametrize("factor", [1e-33, 1e36])
def test_reflections_of_numbers_whose_squares_are_out_of_range(factor: float) -> None:
    run_and_compare(
        lambda x: jnp.linalg.qr(x)[0], (noise(2, 3, 3) * factor).astype(np.float32), rtol=1e-5, symbolic=None
    )


def test_empty_matrices_and_batches() -> None:
    def factors(x: Any) -> Any:
        return jnp.linalg.cholesky(x), jax.lax.linalg.lu(x), jnp.linalg.qr(x), jnp.linalg.solve(x, x)

    model = lower(factors, np.zeros((2, 3, 3), np.float32))
    assert [v.size for v in run(model, np.zeros((0, 3, 3), np.float32))] == [0] * 7
    run_and_compare(lambda x: jnp.linalg.qr(x)[1], np.zeros((2, 0, 3), np.float32))


def test_errors_of_what_is_made_of_lu_and_cholesky() -> None:
    """Up to a condition of 1e5, Hilbert's matrix of order 4."""
    hilbert = 1 / (np.arange(4)[:, None] + np.arange(4) + 1)
    matrices, right = np.stack([hilbert, noise(4, 4), noise(4, 4, seed=1)]), noise(3, 4, 2)

    def results(a: Any, y: Any) -> Any:
        square = a @ jnp.swapaxes(a, 1, 2) + 0.1 * jnp.eye(4, dtype=a.dtype)
        by_factor = jax.vmap(lambda s, y: jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(s), y))(square, y)
        return by_factor, jnp.linalg.solve(a, y), jnp.linalg.inv(a), jnp.linalg.det(a), jnp.linalg.slogdet(a)[1]

    errors(results, matrices, right)
    errors(lambda x, y: jnp.linalg.solve(x, y), noise(2, 20, 20), noise(2, 20, 3, seed=2))
    errors(jax.scipy.linalg.expm, noise(3, 3), symbolic=None)


@pytest.mark.parametrize("kind", ["f16", "f32", "f64", "complex<f32>"])
def test_ops_of_stablehlo_itself(kind: str, tmp_path: Path) -> None:
    """XLA is the reference: it gives NaN for a matrix that is not positive definite, here the negated one."""
    a, rhs = f"tensor<2x3x3x{kind}>", f"tensor<2x4x3x{kind}>"
    text = f"""func.func @main(%x: {a}, %y: {rhs}) -> ({a}, {a}, {a}, {rhs}) {{
      %t = stablehlo.transpose %x, dims = [0, 2, 1] : ({a}) -> {a}
      %p = stablehlo.dot_general %x, %t, batching_dims = [0] x [0], contracting_dims = [2] x [1] : ({a}, {a}) -> {a}
      %m = stablehlo.negate %p : {a}
      %0 = stablehlo.cholesky %p, lower = true : {a}
      %1 = stablehlo.cholesky %p, lower = false : {a}
      %2 = stablehlo.cholesky %m, lower = true : {a}
      %3 = "stablehlo.triangular_solve"(%1, %y) <{{left_side = false, lower = false, unit_diagonal = false,
        transpose_a = #stablehlo<transpose ADJOINT>}}> : ({a}, {rhs}) -> {rhs}
      return %0, %1, %2, %3 : {a}, {a}, {a}, {rhs} }}"""
    (tmp_path / "m.mlir").write_text(text)
    swift_export.convert(tmp_path / "m.mlir", tmp_path / "m.onnx", check=True)


def test_qr_of_columns_by_their_lengths() -> None:
    """The routine has no stable form: JAX exports it only unchecked. Complex numbers, and more columns than rows."""
    allowed = [export.DisabledSafetyCheck.custom_call(f"lapack_{kind}geqp3_ffi") for kind in "sc"]

    def factors(x: Any, z: Any) -> Any:
        return jax.scipy.linalg.qr(x, pivoting=True), jax.scipy.linalg.qr(z, pivoting=True, mode="economic")

    x, z = of_type(np.float32, 3, 10), of_type(np.complex64, 5, 4, seed=1)
    expected = [as_pairs(np.asarray(v)) for v in jax.tree.leaves(factors(x, z))]
    assert not np.array_equal(expected[2], np.arange(10))
    exported = export.export(jax.jit(factors), platforms=["cpu"], disabled_checks=allowed)(x, z)
    model = stablehlo_to_onnx(exported.mlir_module_serialized)
    assert any("another order" in note for note in model.meta["notes"])
    for optimized in (False, True):
        for ours, theirs in zip(run(model, x, z, optimized=optimized), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_products_with_reflections() -> None:
    """From both sides, and with their adjoints."""
    allowed = [export.DisabledSafetyCheck.custom_call("lapack_cunmqr_ffi")]
    x, y = of_type(np.complex64, 4, 2), of_type(np.complex64, 4, 4, seed=1)

    def products(x: Any, y: Any) -> Any:
        packed, factors = linalg.geqrf(x)
        sides = product([True, False], [True, False])
        return [linalg.ormqr(packed, factors, y, left=left, transpose=turn) for left, turn in sides]

    exported = export.export(jax.jit(products), platforms=["cpu"], disabled_checks=allowed)(x, y)
    found = run(stablehlo_to_onnx(exported.mlir_module_serialized), x, y)
    for ours, theirs in zip(found, products(x, y), strict=True):
        np.testing.assert_allclose(ours, as_pairs(np.asarray(theirs)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_similar_matrices_with_zeros_below_a_subdiagonal(dtype: type) -> None:
    """Of symmetric matrices, from both triangles: the other one must not be read."""
    x, below = of_type(dtype, 2, 5, 5), np.tri(5, dtype=bool)

    def forms(x: Any) -> Any:
        lower, upper = jnp.where(below, x, jnp.nan), jnp.where(below.T, x, jnp.nan)
        hessenberg = jax.scipy.linalg.hessenberg(x, calc_q=True)
        return hessenberg, linalg.tridiagonal(lower, lower=True), linalg.tridiagonal(upper, lower=False)

    run_and_compare(forms, x, rtol=1e-5)
    run_and_compare(lambda x: linalg.tridiagonal(x)[1:], x[:, :1, :1], symbolic=None)


def test_what_is_refused() -> None:
    with pytest.raises(LoweringError, match="no rule translates LAPACK's routine sgees to ONNX"):
        lower(lambda x: jax.scipy.linalg.schur(x)[0], noise(3, 3).astype(np.float32), symbolic=None)
    with pytest.raises(LoweringError, match="no rule translates LAPACK's routine cgeev to ONNX"):
        lower(jnp.linalg.eigvals, of_type(np.complex64, 3, 3), symbolic=None)
    with pytest.raises(LoweringError, match=r"matrices of size \[b, b\]: expected numbers"):
        lower(lambda x: jnp.linalg.cholesky(x @ x.T), noise(3, 2).astype(np.float32))
    call = """func.func @main(%a: tensor<3x3xf32>) -> (tensor<3x3xf32>, tensor<i32>) {
      %0:2 = stablehlo.custom_call @lapack_spotrf_ffi(%a) {mhlo.backend_config = {uplo = 65 : ui8}}
        : (tensor<3x3xf32>) -> (tensor<3x3xf32>, tensor<i32>)
      return %0#0, %0#1 : tensor<3x3xf32>, tensor<i32> }"""
    with pytest.raises(LoweringError, match=re.escape("uplo = 'A': expected one of L, U")):
        stablehlo_to_onnx(call)
