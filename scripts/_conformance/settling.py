"""Results that differ from JAX's and are still correct, in the few cases with more than one correct answer.

Each rule is a separate check with a name in the verdict. The page lists every case that such a rule accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np

from _conformance.cases import Case

__all__ = ["settle"]


def settle(case: Case, arguments: Sequence[Any], found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """The reason why a differing result is correct, or an empty string."""
    if len(found) != len(expected) or any(a.shape != b.shape for a, b in zip(found, expected, strict=True)):
        return ""
    if case.primitive == "sort" and not case.harness.params["is_stable"]:
        return _another_order(case.harness.params, found, expected)
    if case.primitive == "approx_top_k":
        return _other_places(np.asarray(arguments[0]), found, expected)
    if case.primitive in ("eigh", "svd"):
        return _other_vectors(found, expected)
    if case.primitive == "fft":
        return _another_transform(found, expected)
    if case.primitive in SUMS:
        return _another_sum(case, arguments, found, expected)
    return _closer(case, arguments, found, expected)


def _another_order(params: dict[str, Any], found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """An unstable sort may leave equal keys in any order. The keys must be as expected and the rows the same."""
    keys, axis = params["num_keys"], params["dimension"]
    same_keys = all(np.array_equal(a, b) for a, b in zip(found[:keys], expected[:keys], strict=True))

    def rows(arrays: list[np.ndarray]) -> list[list[tuple[Any, ...]]]:
        lanes = [np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]) for a in arrays]
        return [sorted(zip(*(lane[i].tolist() for lane in lanes), strict=True)) for i in range(len(lanes[0]))]

    same = same_keys and rows(found) == rows(expected)
    return "equal keys in another order, as an unstable sort allows" if same else ""


def _other_places(operand: np.ndarray, found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Any of several equal values may be selected, if the values are right and stand at the stated positions."""
    values, places = (np.asarray(a, np.float32) if i == 0 else a for i, a in enumerate(found))
    there = np.take_along_axis(operand.astype(np.float32), places.astype(np.int64), axis=-1)
    distinct = all(len(set(lane)) == len(lane) for lane in places.reshape(-1, places.shape[-1]).tolist())
    same = np.array_equal(values, np.asarray(expected[0], np.float32)) and np.array_equal(there, values)
    return "equal values from other positions" if same and distinct else ""


def _other_vectors(found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Signs of vectors and bases for equal values are free; values, products and unitarity must be as expected."""
    (values, *vectors), (right, *others) = (sorted(arrays, key=lambda a: a.ndim) for arrays in (found, expected))
    if not np.isfinite([np.abs(a).max(initial=0) for a in found]).all() or not values.size:
        return ""
    limit = 8 * max(a.shape[-1] for a in found) * EPSILONS[str(right.dtype)]

    def whole(values: np.ndarray, vectors: list[np.ndarray]) -> np.ndarray:
        left, back = (vectors * 2)[:2]
        back = back if len(vectors) == 2 else np.conj(back).swapaxes(-1, -2)
        count = values.shape[-1]
        return np.asarray((left[..., :count] * values[..., None, :]) @ back[..., :count, :])

    scale = np.abs(right).max(-1, keepdims=True)
    same = bool((np.abs(values - right) <= limit * scale).all())
    if vectors:
        difference = np.abs(whole(values, vectors) - whole(right, others))
        same &= bool((difference <= limit * scale[..., None]).all())
    for a, rows in zip(vectors, (False, True), strict=False):
        columns = np.conj(a).swapaxes(-1, -2) if rows else a
        products = np.conj(columns).swapaxes(-1, -2) @ columns
        same &= bool((np.abs(products - np.eye(products.shape[-1])) <= limit).all())
    return "vectors of other signs or bases" if same else ""


#: Twice the relative error of one rounding.
EPSILONS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
EPSILONS |= {"complex64": EPSILONS["float32"], "complex128": EPSILONS["float64"]}

#: Primitives that sum products of elements of their operands.
SUMS = {"conv_general_dilated", "dot_general", "reduce_window_add", "scatter_add"}


def _another_sum(case: Case, arguments: Sequence[Any], found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Sums may differ by four roundings of the sum of the magnitudes of their terms.

    The order of n terms may cost n - 1 roundings (N. J. Higham, Accuracy and Stability of Numerical Algorithms,
    section 4.2).
    """
    import jax

    magnitudes = jax.tree.leaves(jax.jit(case.function)(*map(_magnitude, arguments)))
    for ours, theirs, magnitude in zip(found, expected, magnitudes, strict=True):
        allowed = 4 * EPSILONS[theirs.dtype.name] * np.abs(np.asarray(magnitude)).astype(np.float64)
        if not (np.abs(_wide(ours) - _wide(theirs)) <= allowed).all():
            return ""
    return "the same sum, added in another order"


def _another_transform(found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Transforms may differ by four roundings in the norm: algorithms add the terms of every element in other orders.

    The error of a fast transform is a small multiple of the rounding, relative to the norm (Higham, section 24.1).
    """
    for ours, theirs in zip(found, expected, strict=True):
        a, b = _wide(ours), _wide(theirs)
        if not np.linalg.norm((a - b).ravel()) <= 4 * EPSILONS[theirs.dtype.name] * np.linalg.norm(b.ravel()):
            return ""
    return "the same transform, added in another order"


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.result_type(array, np.float64))


def _magnitude(value: Any) -> Any:
    array = np.asarray(value)
    # A complex number keeps its type, which other arguments of the case may name.
    return abs(array).astype(array.dtype) if array.dtype.kind not in "iub" else value


#: Functions of float64 and of complex numbers that mpmath can compute; lgamma is that of the absolute value.
EXACT: dict[str, Callable[..., Any]] = {
    "atanh": lambda x: mpmath.atanh(x),
    "erf_inv": lambda x: mpmath.erfinv(x),
    "log": lambda x: mpmath.log(x),
    "pow": lambda x, y: mpmath.power(x, y),
    "lgamma": lambda x: mpmath.re(mpmath.loggamma(x)),
}


def _closer_than_float64(
    function: Callable[..., Any], operands: Sequence[np.ndarray], ours: np.ndarray, theirs: np.ndarray
) -> str:
    """The worst element may be up to twice as far from the exact result (mpmath with 40 digits) as JAX's result."""
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
        return ""
    with mpmath.workdps(40):
        given = zip(*(operand[finite].tolist() for operand in operands), strict=True)
        truths = [function(*map(mpmath.mpmathify, numbers)) for numbers in given]

        def furthest(found: np.ndarray) -> mpmath.mpf:
            values = map(mpmath.mpmathify, found[finite].tolist())
            return max(abs((y - truth) / (truth or 1)) for y, truth in zip(values, truths, strict=True))

        off, allowed = furthest(ours), 2 * furthest(theirs)
    return "error against the exact result at most twice JAX's" if off <= allowed else ""


def _closer(case: Case, arguments: Sequence[Any], found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Floats may be as far from the exact result (JAX in float64) as the worst element of JAX's result."""
    import jax
    import jax.numpy as jnp

    if case.dtype in ("float64", "complex64", "complex128") and case.primitive in EXACT:
        operands = np.broadcast_arrays(*arguments)
        return _closer_than_float64(EXACT[case.primitive], operands, found[0], expected[0])
    if any(b.dtype.kind not in "fVc" for b in expected) or case.dtype in ("float64", "complex128"):
        return ""

    def widened(value: Any) -> Any:
        array = np.asarray(value)
        return _wide(array) if jnp.issubdtype(array.dtype, jnp.inexact) else value

    try:
        with jax.enable_x64(True):
            exact = jax.tree.leaves(jax.jit(case.function)(*map(widened, arguments)))
            exact = [np.asarray(leaf) for leaf in exact]
    except Exception:
        # The case works only for its own type.
        return ""
    for ours, theirs, truth in zip(found, expected, exact, strict=True):
        ours, theirs = _wide(ours), _wide(theirs)
        finite = np.isfinite(theirs)
        if truth.dtype != theirs.dtype or not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return ""
        off, allowed = (np.abs(a[finite] - truth[finite]).max(initial=0) for a in (ours, theirs))
        if not off <= allowed:
            return ""
    return "at least as close to the exact result as JAX's"
