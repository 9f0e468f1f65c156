"""Constants and counting in all types, against JAX."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from compare import run_and_compare
from edges import FLOATS, INTEGERS, SPECIAL, compare


def test_counting_in_all_types() -> None:
    types = [jnp.dtype(t) for t in (*INTEGERS, *FLOATS)]

    def function(x: jax.Array) -> list[jax.Array]:
        # Beyond what 8 bits hold, and what the digits of the short floats tell apart.
        return [lax.broadcasted_iota(t, (3, 5000), 1) for t in types] + [x]

    compare(function, np.zeros(2, np.float32))


def test_counting_along_an_unknown_axis() -> None:
    x = np.zeros((3, 4), np.float32)
    types = [jnp.int32, jnp.uint8, jnp.float16]
    run_and_compare(lambda x: [lax.broadcasted_iota(t, x.shape, axis) for t in types for axis in (0, 1)], x)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "bool"])
def test_constants_of_all_types(dtype: str) -> None:
    if dtype in FLOATS:
        with np.errstate(over="ignore"):
            elements = SPECIAL.astype(jnp.dtype(dtype))
    else:
        ends = np.iinfo(dtype) if dtype != "bool" else None
        elements = np.array([ends.min, 0, 1, ends.max] if ends else [False, True], dtype)
    # More than MLIR prints one by one, few, and one for all.
    shapes = [np.tile(elements, 300).reshape(4, -1), elements, *(np.full((2, 3), e) for e in elements)]

    def function(x: jax.Array) -> list[jax.Array]:
        return [jnp.asarray(s) for s in shapes] + [x]

    compare(function, np.zeros(2, np.float32), dtype=dtype if dtype == "bfloat16" else None)
