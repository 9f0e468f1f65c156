"""Values on which implementations differ, and a comparison to the last bit."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as oir

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, runners

__all__ = ["FLOATS", "INTEGERS", "agree", "compare", "floats", "integer_pairs", "pairs"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

#: XLA's older emitters, with which the tests compile in a third of the time, round narrow floats otherwise, and have
#: coarser functions of float64.
ROUNDS_ONCE = {"xla_cpu_use_fusion_emitters": True}
_NEEDS_IT = re.compile(r"\b(f64|b?f16|f8_\w+|f4_\w+)\[|reduce_precision")

_SPECIAL = np.array(
    [0, 0.5, 1, 1.5, 2.5, 3, 7, 20, 88.7, 100, np.pi, np.pi / 2, 0.49999997, 1e-4, 1e-8, 1e-30, 1e30, 3.4e38, np.inf]
)
SPECIAL = np.concatenate([_SPECIAL, -_SPECIAL, [np.nan]])


def floats(dtype: str, count: int = 4000) -> np.ndarray:
    """All values of a type of 16 bits but denormal ones that JAX takes for zero; of others a sample of all sizes."""
    if dtype == "float16":
        return np.arange(2**16, dtype=np.uint16).view(dtype)
    if dtype == "bfloat16":
        values = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
        return values[~((values != 0) & (np.abs(values) < 4e-38))]
    rng = np.random.default_rng(0)
    digits = 37 if dtype == "float32" else 300
    sizes = 10 ** rng.uniform(-digits, digits, count) * rng.choice([-1, 1], count)
    near_one = 1 + rng.standard_normal(count) * 10 ** rng.uniform(-8, 0, count)
    return np.concatenate([SPECIAL, sizes, near_one, rng.standard_normal(count) * 10]).astype(dtype)


def pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Each special value with each, and others at random."""
    carried = "float32" if dtype == "bfloat16" else dtype
    with np.errstate(over="ignore"):
        special = SPECIAL.astype(carried)
    a, b = (m.reshape(-1) for m in np.meshgrid(special, special))
    others = floats(dtype)
    rng = np.random.default_rng(1)
    return tuple(np.concatenate([x, rng.permutation(others)]) for x in (a, b))  # type: ignore[return-value] - two


def integer_pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of 8 bits; of more bits those of the ends and others of all sizes."""
    ends = np.iinfo(dtype)
    if ends.bits == 8:
        every = np.arange(ends.min, ends.max + 1).astype(dtype)
        a, b = np.meshgrid(every, every)
        return a.reshape(-1), b.reshape(-1)
    small = [0, 1, 2, 3, 7, ends.bits - 1, ends.bits, ends.bits + 1, ends.max // 2, ends.max - 1, ends.max]
    special = np.array(small + ([ends.min, ends.min + 1, -1, -2, -7] if ends.min else []), dtype)
    a, b = (m.reshape(-1) for m in np.meshgrid(special, special))
    rng = np.random.default_rng(0)

    def sample() -> np.ndarray:
        wide = rng.integers(ends.min, ends.max, 4000, dtype, endpoint=True)
        return wide >> rng.integers(0, ends.bits, 4000).astype(dtype)

    return np.concatenate([a, sample()]), np.concatenate([b, sample()])


def compare(
    function: Callable[..., Any], *arrays: np.ndarray, dtype: str | None = None, ulps: float = 0, **options: Any
) -> oir.Model:
    """Compare a function with its file to so many units in the last place of ``dtype``.

    Arrays of bfloat16 are given and taken as float32, which ONNX Runtime's Python binding has.
    """

    def carried(*operands: jax.Array) -> Any:
        if dtype == "bfloat16":
            operands = tuple(x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x for x in operands)
        results = jax.tree.leaves(function(*operands))
        return tuple(r.astype(jnp.float32) if r.dtype == jnp.bfloat16 else r for r in results)

    with jax.enable_x64(True):
        model = lower(carried, *arrays, symbolic=None, **options)
        # Converted outside: inside, XLA would leave out the rounding before it.
        with np.errstate(invalid="ignore"):
            operands = [x.astype(jnp.bfloat16) if dtype == "bfloat16" and x.dtype == np.float32 else x for x in arrays]
        traced = jax.jit(function).trace(*operands)
        options = ROUNDS_ONCE if _NEEDS_IT.search(str(traced.jaxpr)) else None
        computed = traced.lower().compile(compiler_options=options)(*operands)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(computed)]
        expected = [leaf.astype(np.float32) if leaf.dtype == jnp.bfloat16 else leaf for leaf in leaves]
    digits = 8 if dtype == "bfloat16" else None
    for call, how in zip(runners(model), ("", ", optimized"), strict=True):
        for i, (found, wanted) in enumerate(zip(call(*arrays), expected, strict=True)):
            agree(found, wanted, ulps, arrays, digits, f"result {i}{how}")
    return model


def agree(
    found: np.ndarray,
    wanted: np.ndarray,
    ulps: float,
    given: tuple[np.ndarray, ...] = (),
    digits: int | None = None,
    name: str = "result",
) -> None:
    """The same types, integers, truth values, NaN, infinities and signs of zero; floats to so many units."""
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    if wanted.dtype.kind != "f":
        unlike = found != wanted
    else:
        info = np.finfo(wanted.dtype)
        digits = digits or info.nmant + 1
        with np.errstate(all="ignore"):
            unit = np.maximum(np.abs(wanted), info.smallest_normal).astype(np.float64) * 2.0 ** (1 - digits)
            near = np.abs(found.astype(np.float64) - wanted) <= ulps * unit
        same = (found == wanted) & (np.signbit(found) == np.signbit(wanted)) | np.isnan(found) & np.isnan(wanted)
        near &= np.isfinite(wanted) & np.isfinite(found) & ((found != 0) | (wanted != 0))
        # XLA makes zeros of results that are denormal.
        flushed = (wanted == 0) & (found != 0) & (np.abs(found) <= info.smallest_normal)
        unlike = ~(same | near | flushed)
    if unlike.any():
        place = tuple(np.argwhere(unlike)[0])
        operands = [x[place] for x in given if x.shape == found.shape]
        raise AssertionError(
            f"{name}: {unlike.sum()} of {unlike.size}, at {operands}: {found[place]}, expected {wanted[place]}"
        )
