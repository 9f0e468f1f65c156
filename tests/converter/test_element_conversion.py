"""Conversions between all types, by value and by bits, and floats with fewer digits, against JAX."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare
from edges import FLOATS, INTEGERS, agree, compare, floats, integer_pairs

TYPES = (*INTEGERS, *FLOATS, "bool")


def between(narrow: str, wide: str) -> np.ndarray:
    """Numbers halfway between neighbours of a narrower type, and next to those."""
    bits = np.arange(0, 2**16, 7, dtype=np.uint16)
    kind = ml_dtypes.bfloat16 if narrow == "bfloat16" else np.float16
    low, high = (b.view(kind).astype(np.float64) for b in (bits, bits + np.uint16(1)))
    with np.errstate(all="ignore"):
        middle = (low + high) / 2
        middle = middle[np.isfinite(middle) & ((middle == 0) | (np.abs(middle) > 1e-37))].astype(wide)
        return np.concatenate([middle, np.nextafter(middle, wide_inf := np.array(np.inf, wide)),
                               np.nextafter(middle, -wide_inf)])  # fmt: skip


def values(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([True, False])
    if dtype in INTEGERS:
        return np.unique(integer_pairs(dtype)[0])
    ends = [float(sign * 2**bits) for bits in (7, 8, 15, 16, 31, 32, 63, 64) for sign in (1, -1)]
    carried = "float32" if dtype == "bfloat16" else dtype
    with np.errstate(over="ignore"):
        limits = np.array(ends, carried)
    around = [limits, np.nextafter(limits, limits * 2), np.nextafter(limits, np.zeros_like(limits))]
    if dtype == "bfloat16":
        around = [limits]
    if dtype in ("float32", "float64"):
        around += [between("float16", dtype), between("bfloat16", dtype), np.array([65519.99, 65520], dtype)]
    found = np.concatenate([floats(dtype), *around])
    # What XLA takes for zero is left out, and so is what becomes too small for it.
    return found[~((found != 0) & (np.abs(found) < 1e-37))] if dtype != "float16" else found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("source", TYPES)
def test_conversion_by_value(source: str) -> None:
    # XLA rounds float64 to float32 on the way to float16, unless the processor has AVX-512 FP16: see below.
    targets = [target for target in TYPES if (source, target) != ("float64", "float16")]

    def function(x: jax.Array) -> list[jax.Array]:
        return [lax.convert_element_type(x, target) for target in targets]

    compare(function, values(source), dtype="bfloat16" if source == "bfloat16" else None)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_float64_to_float16_rounds_once() -> None:
    x = values("float64")
    with jax.enable_x64(True):
        (half,) = run(lower(lambda x: x.astype(jnp.float16), x, symbolic=None), x)
    rounded = x.astype(np.float16)  # NumPy rounds exactly, on every processor
    twice = x.astype(np.float32).astype(np.float16)
    assert (rounded != twice)[np.isfinite(x)].sum() > 1000
    agree(half, rounded, 0, (x,))


def test_what_rounds_once_and_what_saturates() -> None:
    x = np.array([[np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31) - 1, 1.9, -1.9, 0.0]])
    with jax.enable_x64(True):
        model = lower(lambda x: (x.astype(jnp.int32), x.astype(jnp.uint8)), x, symbolic=None)
        signed, unsigned = run(model, x)
        np.testing.assert_array_equal(signed, [[0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 1, -1, 0]])
        np.testing.assert_array_equal(unsigned, [[0, 255, 0, 255, 0, 1, 0, 0]])
        # Just above the middle of 1 and the next float16, and the same float32 as that middle.
        x = np.array([1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-11, 65519.9999999, 65520])
        (half,) = run(lower(lambda x: x.astype(jnp.float16), x, symbolic=None), x)
        np.testing.assert_array_equal(half, np.array([1 + 2.0**-10, 1, 65504, np.inf], np.float16))


@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS])
def test_conversion_by_bits(source: str) -> None:
    # bfloat16 comes as the bits of uint16: a signalling NaN would not outlive a float32.
    if source == "bfloat16":
        array = np.arange(2**16, dtype=np.uint16)
    else:
        array = floats(source) if source in FLOATS else integer_pairs(source)[0]
    array = array[: array.size // 8 * 8].reshape(-1, 8)
    targets = [jnp.dtype(t) for t in (*INTEGERS, *FLOATS)]

    def function(x: jax.Array) -> list[jax.Array]:
        x = lax.bitcast_convert_type(x, jnp.dtype(source)) if source == "bfloat16" else x
        results = []
        for target in targets:
            ratio = target.itemsize // x.dtype.itemsize
            wide = x.reshape(*x.shape[:-1], 8 // ratio, ratio) if ratio > 1 else x
            bits = lax.bitcast_convert_type(wide, target)
            # Seen as integers again: NaN has many spellings.
            results.append(lax.bitcast_convert_type(bits, jnp.dtype(f"uint{8 * target.itemsize}")))
        return results

    compare(function, array)


def test_equal_elements_have_equal_bits() -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        same = jnp.full((x.shape[0], 4), 3, jnp.uint8) * x[0, 0]
        return [
            lax.bitcast_convert_type(same, jnp.int32),
            lax.bitcast_convert_type(x + 1, jnp.int8),
        ]

    run_and_compare(function, np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize("dtype", FLOATS)
def test_fewer_digits(dtype: str) -> None:
    formats = [(8, 7), (5, 10), (5, 2), (4, 3), (8, 23), (2, 1), (3, 0), (11, 10), (1, 4), (8, 40)]
    compare(lambda x: [lax.reduce_precision(x, e, m) for e, m in formats], floats(dtype), dtype=dtype)


def test_bits_of_floats_raise_the_opset_unless_one_was_asked_for() -> None:
    x = np.array([[1.5, -0.0]], np.float32)

    def bits(x: jax.Array) -> jax.Array:
        return lax.bitcast_convert_type(x, jnp.int32)

    model = run_and_compare(bits, x)
    assert op_types(model) == {"BitCast": 1}
    assert model.graph.opset_imports[""] == 26
    assert model.ir_version == 13
    with pytest.raises(LoweringError, match=r"bitcast_convert at .*BitCast, of opset 26: found --opset 20"):
        lower(bits, x, opset=20)
    assert lower(lambda x: x + 1, x).graph.opset_imports[""] == 20
    with pytest.raises(UsageError, match="opset 27: expected 18 to 26"):
        lower(bits, x, opset=27)


def test_a_loop_that_needs_a_later_opset_raises_that_of_the_file() -> None:
    def function(x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 3, lambda _, v: lax.nextafter(v, jnp.full_like(v, 9)), x)

    assert run_and_compare(function, np.array([[1.5, -0.0]], np.float32)).graph.opset_imports[""] == 26


def test_truth_values_have_no_bits() -> None:
    text = """func.func public @main(%x: tensor<8xi1>) -> tensor<i8> {
      %y = stablehlo.bitcast_convert %x : (tensor<8xi1>) -> tensor<i8>
      return %y : tensor<i8>
    }"""
    with pytest.raises(LoweringError, match="bitcast_convert"):
        stablehlo_to_onnx(text)
