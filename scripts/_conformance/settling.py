"""Results that differ from JAX's and are still correct, in cases with more than one correct answer.

Each rule is a separate check with a name in the verdict. The page lists every case that such a rule accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np

from _conformance.cases import Case
from _conformance.factorizations import FACTORS, VECTORS, as_accurate, other_vectors
from _conformance.rounding import EPSILONS, wide

__all__ = ["settle"]


def settle(case: Case, arguments: Sequence[Any], found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """The reason why a differing result is correct, or an empty string."""
    if len(found) != len(expected) or any(a.shape != b.shape for a, b in zip(found, expected, strict=True)):
        return ""
    if case.primitive == "sort" and not case.harness.params["is_stable"]:
        return _another_order(case.harness.params, found, expected)
    if case.primitive == "approx_top_k":
        return _other_places(np.asarray(arguments[0]), found, expected)
    if case.primitive in VECTORS:
        return other_vectors(found, expected)
    if case.primitive in FACTORS:
        return as_accurate(found, expected, _exact(case, arguments))
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
        if not (np.abs(wide(ours) - wide(theirs)) <= allowed).all():
            return ""
    return "the same sum, added in another order"


def _another_transform(found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Transforms may differ by four roundings in the norm: algorithms add the terms of every element in other orders.

    The error of a fast transform is a small multiple of the rounding, relative to the norm (Higham, section 24.1).
    """
    for ours, theirs in zip(found, expected, strict=True):
        a, b = wide(ours), wide(theirs)
        if not np.linalg.norm((a - b).ravel()) <= 4 * EPSILONS[theirs.dtype.name] * np.linalg.norm(b.ravel()):
            return ""
    return "the same transform, added in another order"


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


def _exact(case: Case, arguments: Sequence[Any]) -> list[np.ndarray] | None:
    """JAX's result in float64; None for a case in that type, or one that works only for its own type."""
    import jax
    import jax.numpy as jnp

    if case.dtype in ("float64", "complex128"):
        return None

    def widened(value: Any) -> Any:
        array = np.asarray(value)
        return wide(array) if jnp.issubdtype(array.dtype, jnp.inexact) else value

    try:
        with jax.enable_x64(True):
            return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(case.function)(*map(widened, arguments)))]
    except Exception:
        return None


def _closer(case: Case, arguments: Sequence[Any], found: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Floats may be as far from the exact result (JAX in float64) as the worst element of JAX's result."""
    if case.dtype in ("float64", "complex64", "complex128") and case.primitive in EXACT:
        operands = np.broadcast_arrays(*arguments)
        return _closer_than_float64(EXACT[case.primitive], operands, found[0], expected[0])
    exact = None if any(b.dtype.kind not in "fVc" for b in expected) else _exact(case, arguments)
    if exact is None:
        return ""
    for ours, theirs, truth in zip(found, expected, exact, strict=True):
        ours, theirs = wide(ours), wide(theirs)
        finite = np.isfinite(theirs)
        if truth.dtype != theirs.dtype or not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return ""
        off, allowed = (np.abs(a[finite] - truth[finite]).max(initial=0) for a in (ours, theirs))
        if not off <= allowed:
            return ""
    return "at least as close to the exact result as JAX's"
